"""202 only after Kafka's acknowledgement, whatever happens to the broker."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipeline.domain.records import EVENTS_TOPIC
from tests.api.support import (
    RunningApi,
    catalog_file,
    make_topics,
    records_with,
    settings_for,
    store_key,
    usage,
    wait_until,
)
from tests.fixtures.servers import Server, broker_server

ACK_TIMEOUT_MS = 700


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = broker_server(tmp_path / "broker").start()
    yield started
    started.kill()


@pytest.fixture
def frail(server: Server, tmp_path: Path) -> Iterator[RunningApi]:
    """Yield an API that does not wait long for its broker."""
    settings = settings_for(server.address, catalog_file(tmp_path), api_ack_timeout_ms=ACK_TIMEOUT_MS)
    make_topics(settings)
    with RunningApi(settings) as running:
        yield running.ready()


def token_for(api: RunningApi) -> str:
    token, _ = store_key(api.settings, "operator", None)
    wait_until(lambda: api.knows(token), "the key to be read")
    return token


def test_a_paused_broker_is_never_202(frail: RunningApi, server: Server) -> None:
    """Without an acknowledgement the answer is 503, says that it is uncertain, and to send the same again."""
    token = token_for(frail)
    server.pause()

    first = frail.events(token, usage("paused 1"))
    second = frail.events(token, usage("paused 2"))
    grant = frail.request("post", "/v1/grants", token, {"type": "topup", "id": "1", "customer": "acme", "amount": "1"})
    ready = frail.request("get", "/readyz", None, None)
    alive = frail.request("get", "/healthz", None, None)

    assert [each.status_code for each in (first, second, grant, ready, alive)] == [503, 503, 503, 503, 200]
    assert "not certain" in first.json()["detail"]
    assert "same ids" in first.json()["detail"]
    assert "Nothing was written" in second.json()["detail"]
    assert second.elapsed.total_seconds() < ACK_TIMEOUT_MS / 1000
    assert all(int(each.headers["retry-after"]) >= 1 for each in (first, second, ready))
    assert frail.app.state.in_flight.held_bytes > 0

    server.resume()
    wait_until(lambda: frail.events(token, usage("paused 2")).status_code == 202, "the API to recover")
    records_with(frail.settings, EVENTS_TOPIC, ["paused 1", "paused 2"])
    assert frail.app.state.in_flight.held_bytes == 0


def test_the_answer_waits_for_the_acknowledgement(frail: RunningApi, server: Server) -> None:
    """While the broker holds its acknowledgement back there is no answer, and then it is 202."""
    token = token_for(frail)
    answers: list[httpx.Response] = []
    server.pause()
    sender = threading.Thread(target=lambda: answers.append(frail.events(token, usage("held back"))))

    sender.start()
    sender.join(ACK_TIMEOUT_MS / 1000 / 2)
    assert not answers
    server.resume()
    sender.join(10)

    assert [each.status_code for each in answers] == [202]


def test_a_broker_that_comes_back_is_found_again(frail: RunningApi, server: Server) -> None:
    """While the broker is gone requests are 503; afterwards all goes on, and keys that were made meanwhile are known."""
    token = token_for(frail)
    server.kill()
    assert frail.events(token, usage("gone")).status_code == 503

    server.start()
    wait_until(lambda: frail.events(token, usage("back")).status_code == 202, "the API to recover")

    records_with(frail.settings, EVENTS_TOPIC, ["gone", "back"])
    another = token_for(frail)
    assert frail.events(another, usage("back")).status_code == 202


def test_it_starts_without_a_broker(tmp_path: Path) -> None:
    """A process that finds no Kafka lives, says that it is not ready, and serves as soon as there is one."""
    server = broker_server(tmp_path / "broker")
    settings = settings_for(server.address, catalog_file(tmp_path))
    with RunningApi(settings) as running:
        assert running.request("get", "/healthz", None, None).status_code == 200
        assert running.request("get", "/readyz", None, None).status_code == 503
        assert running.events("uk_" + "0" * 12 + "_" + "0" * 64, usage()).status_code == 503

        server.start()
        try:
            make_topics(settings)
            running.ready()
            assert running.events(token_for(running), usage()).status_code == 202
        finally:
            server.kill()

"""The SDK against the real API and real brokers: what it emits is what the worker will read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.codec.records import decode_events, key_of
from pipeline.domain.events import UsageEvent
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.sdk import UsageClient
from pipeline.sdk.over_kafka import KafkaTransport
from tests.api.support import RunningApi, catalog_file, make_topics, records_with, settings_for, store_key, wait_until
from tests.fixtures.servers import Server, broker_server
from tests.sdk.support import QUICK, USED, segments, until

DEPLOYMENT: Any = {"deployment": "dep_acme", "customer": "acme", "environment": "production"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """Yield an API on a broker with topics."""
    folder = tmp_path_factory.mktemp("sdk")
    server = broker_server(folder / "broker").start()
    settings = settings_for(server.address, catalog_file(folder))
    make_topics(settings)
    with RunningApi(settings) as running:
        yield running.ready()
    server.stop()


def key_for(api: RunningApi, deployment: str) -> str:
    token, _ = store_key(api.settings, "deployment", deployment)
    wait_until(lambda: api.knows(token), "the key to be read")
    return token


def ids_in(records: list[Record]) -> list[str]:
    return [event.id for record in records for event in decode_events(record) if isinstance(event, UsageEvent)]


def test_events_pass_the_real_collector_into_kafka(api: RunningApi, tmp_path: Path) -> None:
    """What the API accepts stands in `usage.events`; what it rejects is kept with the API's reason."""
    with UsageClient(api.url, key=key_for(api, "dep_acme"), spool=tmp_path, limits=QUICK, **DEPLOYMENT) as client:
        ids = [client.emit(**USED, cost="0.01") for _ in range(200)]
        bad = client.emit(**USED, time="2099-01-01T00:00:00Z")
        reservation = client.reserve(**USED)
        committed = reservation.commit(quantity=2)
        assert client.flush(20)

    assert (client.stats().accepted, client.stats().rejected) == (202, 1)
    assert '"code":"time_in_future"' in (kept := next(tmp_path.rglob("rejected.jsonl")).read_text())
    assert str(bad) in kept
    records = records_with(api.settings, EVENTS_TOPIC, [*map(str, ids), str(reservation.id), str(committed)])
    assert ids_in(records) == [*ids, committed]
    assert {record.key for record in records} == {b"acme"}


@pytest.mark.parametrize("token", ["uk_nobody_nothing", None])
def test_a_key_that_may_not_emit_loses_nothing(api: RunningApi, tmp_path: Path, token: str | None) -> None:
    """An unknown key, or one of another deployment: events stay on disk until the operator has mended it."""
    key = token or key_for(api, "dep_globex")
    with UsageClient(api.url, key=key, spool=tmp_path, limits=QUICK, **DEPLOYMENT) as client:
        client.emit(**USED)
        until(lambda: client.stats().failed_attempts)

    assert (client.stats().spooled, client.stats().rejected, client.stats().dropped) == (1, 0, 0)
    with UsageClient(api.url, key=key_for(api, "dep_acme"), spool=tmp_path, limits=QUICK, **DEPLOYMENT) as mended:
        until(lambda: mended.stats().accepted == 1)
    assert segments(tmp_path) == []


@pytest.mark.rule("R2.1")
def test_events_go_straight_to_kafka(api: RunningApi) -> None:
    """A record's key is the customer, its value an array below 1 MiB, and its content type says so."""
    with UsageClient.kafka(api.settings.kafka, spool=False, limits=QUICK, **DEPLOYMENT) as client:
        ids = [client.emit(**USED, operation="x" * 128) for _ in range(3000)]
        assert client.flush(20)

    records = records_with(api.settings, EVENTS_TOPIC, list(map(str, ids)))
    assert ids_in(records) == ids
    assert {(key_of(record), record.headers) for record in records} == {
        ("acme", (("content-type", b"application/cloudevents-batch+json"),))
    }
    assert max(len(record.value or b"") for record in records) < 1 << 20


def test_a_broker_that_was_away_gets_everything_once(
    new_broker: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed amid emitting and started again: events wait on disk, arrive in order, and none has a second id."""
    monkeypatch.setattr("pipeline.sdk.delivery.BACKOFF_S_MAX", 0.2)
    settings = settings_for(new_broker.start().address, catalog_file(tmp_path))
    make_topics(settings)
    transport = KafkaTransport(new_broker.address, "acme", timeout_s=2.0)
    client = UsageClient(transport=transport, spool=tmp_path / "spool", limits=QUICK, **DEPLOYMENT)
    ids = [client.emit(**USED) for _ in range(50)]
    assert client.flush(20)

    new_broker.kill()
    ids += [client.emit(**USED) for _ in range(50)]
    until(lambda: client.stats().spooled == 50)
    new_broker.start()
    assert client.flush(40)
    client.close()

    arrived = ids_in(records_with(settings, EVENTS_TOPIC, list(map(str, ids))))
    assert list(dict.fromkeys(arrived)) == ids
    assert client.stats().dropped == 0
    assert segments(tmp_path) == []

"""The quota stream, and a gate that follows it."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from pipeline.api import quota_stream
from pipeline.codec.quota import encode_quota
from pipeline.quota.sse import EventParser, ServerEvent
from pipeline.sdk.gate import QuotaGate
from tests.api.support import RunningApi, revoke, store_key, wait_until
from tests.api.test_quota import CALL, publish, record
from tests.quota.support import write

ASK: Any = {name: value for name, value in CALL.items() if name not in ("customer", "deployment", "environment")}
ROUTE: Any = {"deployment": "dep_acme", "environment": "production"}


@contextmanager
def reading(api: RunningApi, token: str, customer: str = "acme") -> Iterator[Iterator[ServerEvent]]:
    """Open a stream and give its events as they come."""
    headers = {"authorization": f"Bearer {token}"}
    with httpx.stream("GET", f"{api.url}/v1/quota/{customer}/stream", headers=headers, timeout=20) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        parser = EventParser()
        yield (event for piece in response.iter_bytes() for event in parser.feed(piece))


def streams(api: RunningApi) -> int:
    return api.app.state.streams._open.total()


def test_streams_the_view_the_record_and_every_change(api: RunningApi, tokens: dict[str, str]) -> None:
    """First what a gate needs to answer, then changes as they come; ages in between. A reader that leaves is forgotten."""
    publish(api, 20)

    with reading(api, tokens["acme"]) as events:
        first = [next(events) for _ in range(3)]
        publish(api, 21)
        change = next(event for event in events if event.name == "quota")
        later = next(event for event in events if event.name == "age")

    assert [event.name for event in first] == ["view", "quota", "age"]
    assert json.loads(first[1].data)["version"] == 20
    assert json.loads(change.data)["version"] == 21
    assert json.loads(later.data)["age_ms"] < 5000
    wait_until(lambda: not api.app.state.board._listeners.get("acme"), "the reader to be forgotten")


def test_a_builders_stream_shows_its_apps_only(api: RunningApi, tokens: dict[str, str]) -> None:
    """What a change brings is cut like what was there."""
    publish(api, 30)

    with reading(api, tokens["northwind"]) as events:
        first = next(event for event in events if event.name == "quota")
        publish(api, 31)
        change = next(event for event in events if event.name == "quota")

    for event in (first, change):
        assert [account["plan"] for account in json.loads(event.data)["accounts"]] == ["team"]


def test_a_revoked_key_ends_its_streams(api: RunningApi) -> None:
    """Within seconds, with a word about why."""
    token, key = store_key(api.settings, "customer", "acme")
    wait_until(lambda: api.knows(token), "the key to be read")

    with reading(api, token) as events:
        next(events)
        revoke(api.settings, key)
        began_s = time.monotonic()
        last = [*events][-1]

    assert last.name == "end"
    assert b"revoked" in last.data
    assert time.monotonic() - began_s < 10


def test_streams_are_bounded(api: RunningApi, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A key opens so many at once and no more; when one is closed there is room again."""
    wait_until(lambda: streams(api) == 0, "earlier streams to be closed")
    monkeypatch.setattr(quota_stream, "STREAMS_OF_KEY_MAX", 1)

    with reading(api, tokens["acme"]) as events:
        next(events)
        refused = api.request("get", "/v1/quota/acme/stream", tokens["acme"], None)
        with reading(api, tokens["dep_acme"]) as others:
            next(others)
    wait_until(lambda: streams(api) == 0, "the streams to be closed")
    again = api.request("get", "/v1/quota/acme/stream", tokens["acme"], None)

    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert again.status_code == 200


def test_a_slow_reader_gets_the_last_records(api: RunningApi, tokens: dict[str, str]) -> None:
    """What waits is bounded: a reader that was not read from misses records, never the last."""
    with reading(api, tokens["acme"]) as events:
        next(events)
        records = [("acme", encode_quota(record(version))) for version in range(100, 200)]
        asyncio.run(write(api.settings.kafka, records, "slow"))  # read by the API in one turn, in which nothing is sent
        versions = [json.loads(event.data)["version"] for event in _until_version(events, 199)]

    assert versions[-1] == 199
    assert len(versions) < 100
    publish(api, 40)


def _until_version(events: Iterator[ServerEvent], version: int) -> Iterator[ServerEvent]:
    for event in events:
        if event.name == "quota":
            yield event
            if json.loads(event.data)["version"] == version:
                return


def test_a_gate_follows_the_stream(api: RunningApi, tokens: dict[str, str]) -> None:
    """A deployment's key is enough to answer in memory, from the record and the view of its customer."""
    publish(api, 50)

    with QuotaGate.http(api.url, tokens["dep_acme"], "acme", **ROUTE) as gate:
        ready = gate.wait_ready(20)
        answer = gate.check(**ASK, quantity=2)
        foreign = gate.check(**ASK, customer="globex", deployment="dep_globex")
        publish(api, 51)
        wait_until(lambda: gate._live.book._board.record("acme").version == 51, "the gate to follow")

    assert ready
    assert (answer.allowed, answer.stale, answer.sentence) == (True, False, "2 of 2 tickets are paid: about $0.01.")
    assert foreign.reason == "unknown_deployment"


def test_a_gate_outlives_its_stream(api: RunningApi) -> None:
    """When the API does not want it any more its knowledge grows old, and the policy goes; nothing is raised or shown."""
    token, key = store_key(api.settings, "customer", "acme")
    wait_until(lambda: api.knows(token), "the key to be read")

    with QuotaGate.http(api.url, token, "acme", **ROUTE, max_age_s=3.0, stale={"ticket": "closed"}) as gate:
        assert gate.wait_ready(20)
        before = gate.check(**ASK)
        revoke(api.settings, key)
        wait_until(lambda: gate.check(**ASK).stale, "the gate to know that it knows too little")
        after = gate.check(**ASK)

    assert before.allowed
    assert (after.allowed, after.reason) == (False, "stale_quota")
    assert gate.fault is not None
    assert token not in gate.fault


def test_a_gate_without_a_server_says_so(tokens: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """An address that does not answer is tried again and said in the log, without the key."""
    with caplog.at_level(logging.WARNING):
        gate = QuotaGate.http("http://127.0.0.1:9", tokens["acme"], "acme", **ROUTE)
        wait_until(lambda: "lost" in (gate.fault or ""), "the gate to notice")
        gate.close()

    assert "the quota stream is lost" in caplog.text
    assert tokens["acme"] not in caplog.text


@pytest.mark.parametrize("options", [{"url": "ftp://x"}, {"url": "http://user@x"}, {"key": "a b"}, {"key": "é"}])
def test_a_gate_refuses_what_cannot_be(options: dict[str, str]) -> None:
    """An address or a key that cannot be used is an error at once, which does not show the key."""
    given: Any = {"url": "http://127.0.0.1:9", "key": "uk_x"} | options

    with pytest.raises(ValueError, match=r"address|API key") as caught:
        QuotaGate.http(**given, customer="acme")

    assert "a b" not in str(caught.value)

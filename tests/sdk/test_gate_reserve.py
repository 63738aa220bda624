"""Reserving through a gate: what goes when it is held, refused, or not heard of."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.codec.quota import encode_quota
from pipeline.domain.events import Reserve, parse_event
from pipeline.domain.state import Answer, Hold
from pipeline.quota.waiting import Waiting
from pipeline.sdk import UsageClient
from tests.quota.support import record_of
from tests.sdk.support import SENDER, Told, client_of, until
from tests.sdk.test_gate import ASK, Rig

ASKED = {name: value for name, value in ASK.items() if name not in SENDER}


@pytest.fixture
def transport() -> Told:
    return Told()


@pytest.fixture
def client(transport: Told) -> Iterator[UsageClient]:
    client = client_of(transport)
    client.sender = client.sender._replace(deployment="dep")
    yield client
    client.close()


@pytest.fixture
def new_rig() -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(**options: Any) -> Rig:
        rigs.append(Rig(**options))
        rigs[-1].used(0)
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.gate.close()


def answer_when_asked(rig: Rig, transport: Told, refused: str | None) -> threading.Thread:
    """Play the worker: once the reservation is sent, say in a record what became of it."""

    def work() -> None:
        until(lambda: transport.events)
        reserve = parse_event(transport.events[0])
        assert isinstance(reserve, Reserve)
        if refused is None:
            rig.world.state.holds[reserve.source, reserve.id] = Hold(reserve.usage, 2**52)
            answers = []
        else:
            answers = [Answer(reserve.source, reserve.id, refused)]
        record = record_of(rig.world)
        rig.sources[-1].say(encode_quota(type(record)(**{**_fields(record), "answers": answers})))

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def types(transport: Told) -> list[str]:
    return [event["type"].split(".")[2] for event in transport.events]


def test_a_reservation_that_is_held_can_be_committed(
    new_rig: Callable[..., Rig], client: UsageClient, transport: Told
) -> None:
    """It is asked for once, and what it holds does not count against the call itself."""
    rig = new_rig()
    worker = answer_when_asked(rig, transport, None)

    held = rig.gate.reserve(client, wait_s=10, **ASKED, quantity=3)
    worker.join()
    assert held.reservation is not None
    own = rig.gate.check(**ASKED, quantity=3, reservation=held.reservation.id)
    other = rig.gate.check(**ASKED, quantity=1)
    held.reservation.commit()
    client.flush()

    assert (held.status, held.allowed, bool(held)) == ("held", True, True)
    assert (own.allowed, other.allowed) == (True, False)
    assert types(transport) == ["reserve", "v1"]
    assert transport.events[1]["data"]["reservation"] == transport.events[0]["id"]


def test_a_reservation_that_is_refused_says_why(
    new_rig: Callable[..., Rig], client: UsageClient, transport: Told
) -> None:
    """The reason is the worker's; there is nothing to commit."""
    rig = new_rig()
    worker = answer_when_asked(rig, transport, "too_many_reservations")

    refused = rig.gate.reserve(client, wait_s=10, **ASKED)
    worker.join()

    assert (refused.status, refused.allowed, refused.reason) == ("refused", False, "too_many_reservations")
    assert refused.reservation is None
    assert "too_many_reservations" in refused.sentence


def test_what_check_denies_is_not_asked_for(new_rig: Callable[..., Rig], client: UsageClient, transport: Told) -> None:
    """No event is sent for what is known to be refused, or to be wrong."""
    rig = new_rig()

    refused = rig.gate.reserve(client, **ASKED, quantity=4)
    wrong = rig.gate.reserve(client, **ASKED, quantity=-1)
    client.flush()

    assert (refused.status, refused.reason) == ("refused", "overage_blocked")
    assert "not included any more" in refused.sentence
    assert (wrong.status, wrong.reason) == ("refused", "invalid_field")
    assert transport.events == []


def test_when_nothing_is_heard_the_policy_goes(
    new_rig: Callable[..., Rig], client: UsageClient, transport: Told
) -> None:
    """Open: the call goes, and its commit ends whatever is held. Closed: it does not, and what may be held is released."""
    opened = new_rig().gate.reserve(client, wait_s=0.01, **ASKED)
    closed = new_rig(stale={"document": "closed"}).gate.reserve(client, wait_s=0.01, **ASKED)
    client.flush()

    assert (opened.status, opened.allowed, opened.reason) == ("unknown", True, "reservation_unknown")
    assert opened.reservation is not None
    assert (closed.status, closed.allowed, closed.reservation) == ("unknown", False, None)
    assert types(transport) == ["reserve", "reserve", "release"]


@pytest.mark.asyncio
async def test_a_coroutine_that_gives_up_releases(
    new_rig: Callable[..., Rig], client: UsageClient, transport: Told
) -> None:
    """Waiting takes no thread, and who is cancelled while waiting leaves nothing held."""
    rig = new_rig()
    task = asyncio.create_task(rig.gate.areserve(client, wait_s=60, **ASKED))
    async with asyncio.timeout(10):
        while not transport.events:  # noqa: ASYNC110 - another thread sends
            await asyncio.sleep(0.005)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    client.flush()

    assert types(transport) == ["reserve", "release"]
    assert rig.gate._live.waiting._futures == {}


def test_waiting_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many that wait, the last ones learn nothing; who has heard makes room."""
    monkeypatch.setattr("pipeline.quota.waiting.WAITING_MAX", 1)
    waiting = Waiting()

    waiting.expect("acme", "dep", "r1")
    waiting.expect("acme", "dep", "r2")
    kept = list(waiting._futures["acme"])
    waiting.drop("acme", "dep", "r2")
    waiting.drop("acme", "dep", "r1")
    waiting.expect("acme", "dep", "r3")

    assert kept == [("dep", "r1")]
    assert list(waiting._futures["acme"]) == [("dep", "r3")]

"""How events get to the pipeline when it refuses, hangs or is away: nothing is lost, nothing has a second id."""

import json
import logging
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sdk import Limits
from pipeline.sdk.spool import Position
from pipeline.sdk.spools import REJECTED, Spools
from pipeline.sdk.transport import Answered, Away, Outcome, Refusal, TooLarge
from tests.sdk.support import QUICK, USED, Told, client_of, segments, until


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry soon."""
    monkeypatch.setattr("pipeline.sdk.delivery.BACKOFF_S", 0.01)
    monkeypatch.setattr("pipeline.sdk.delivery.ADOPT_EVERY_S", 0.05)


def numbers_in(events: list[dict[str, Any]]) -> list[int]:
    return [event["data"]["quantity"] for event in events]


class Flaky(Told):
    """Does something else each time, by a seed, and knows what it has taken and refused."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self.taken: list[str] = []
        self.refused: list[str] = []

    def send(self, events: Any) -> Outcome:
        super().send(events)
        ids = self.ids[-1]
        if self._random.random() < 0.2:
            return Away("away")
        if self._random.random() < 0.2 and len(ids) > 1:
            return TooLarge("too_large", "split it")
        fates = [self._random.choices(["taken", "refused", "again"], [8, 1, 2])[0] for _ in ids]
        self.taken += [each for each, fate in zip(ids, fates, strict=True) if fate == "taken"]
        refused = [Refusal(place, "x", "y") for place, fate in enumerate(fates) if fate == "refused"]
        self.refused += [ids[each.place] for each in refused]
        return Answered(refused, [place for place, fate in enumerate(fates) if fate == "again"])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), events=st.integers(1, 60), batch=st.integers(1, 12), mark=st.integers(2, 20))
def test_each_event_is_settled_once_under_one_id(
    tmp_path_factory: pytest.TempPathFactory, seed: int, events: int, batch: int, mark: int
) -> None:
    """Whatever the pipeline answers, and by way of the disk or not, each event is taken once or refused once."""
    transport = Flaky(seed)
    limits = QUICK._replace(batch_events=batch, memory_events=2 * mark, spool_after_s=0.0 if seed % 2 else 5.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.sdk.delivery.BACKOFF_S", 0.0)
        client = client_of(transport, tmp_path_factory.mktemp("spool"), limits=limits)
        ids = []
        for _ in range(events):
            until(lambda: client.stats().buffered < mark)
            ids.append(client.emit(**USED))
        assert client.flush(20)

    stats = client.stats()
    assert sorted(transport.taken + transport.refused) == sorted(str(each) for each in ids)
    assert (stats.accepted, stats.rejected) == (len(transport.taken), len(transport.refused))
    assert (stats.emitted, stats.dropped, stats.buffered, stats.spooled) == (events, 0, 0, 0)
    client.close()


def test_events_arrive_in_order_through_the_disk(tmp_path: Path) -> None:
    """What came while the pipeline was away is drained before what comes after, in the order in which it came."""
    transport = Told(*[Away("away")] * 4)
    client = client_of(transport, tmp_path)

    for number in range(20):
        client.emit(**USED | {"quantity": number})
    until(lambda: client.stats().spooled == 20)
    for number in range(20, 40):
        client.emit(**USED | {"quantity": number})

    assert client.flush(10)
    arrived = [event for attempt in transport.attempts[4:] for event in attempt]
    assert numbers_in(arrived) == list(range(40))
    assert segments(tmp_path) == []
    client.close()


def test_each_attempt_has_the_same_ids() -> None:
    """A retry sends the very same events: an id is made once for each fact (R6.1)."""
    transport = Told(Away("timeout"), Away("timeout"))
    client = client_of(transport)

    made = [client.emit(**USED) for _ in range(3)]

    assert client.flush(10)
    assert transport.attempts[0] == transport.attempts[1] == transport.attempts[2]
    assert transport.ids == [made] * 3
    client.close()


def test_emit_does_not_wait_for_a_pipeline_that_hangs(tmp_path: Path) -> None:
    """While a request hangs, events go to disk, and emit returns at once."""
    transport = Told()
    transport.hold.clear()
    client = client_of(transport, tmp_path, limits=QUICK._replace(memory_events=100, batch_events=10))

    for _ in range(20):
        for _ in range(40):
            client.emit(**USED)
        until(lambda: client.stats().buffered < 50)

    assert client.stats().dropped == 0
    assert len(transport.attempts) == 1
    transport.hold.set()
    assert client.flush(10)
    assert len({event["id"] for event in transport.events}) == len(transport.events) == 800
    client.close()


def test_what_has_no_room_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Without a disk the memory is bounded; what does not fit is dropped, and said once, not for each event."""
    transport = Told()
    transport.hold.clear()
    client = client_of(transport, limits=QUICK._replace(memory_events=10))
    client.emit(**USED)
    until(lambda: transport.attempts)

    returned = [client.emit(**USED) for _ in range(30)]

    assert returned[10:] == [None] * 20
    assert client.stats().dropped == 20
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    transport.hold.set()
    client.close()
    assert client.stats().accepted == 11


def test_memory_is_bounded_in_bytes_too() -> None:
    """Few large events fill it as many small ones do."""
    transport = Told()
    transport.hold.clear()
    client = client_of(transport, limits=Limits(memory_bytes=2000))
    client.emit(**USED)

    taken = [client.emit(**USED | {"operation": "x" * 128}) for _ in range(20)]

    assert 0 < sum(each is not None for each in taken) < 8
    transport.hold.set()
    client.close()


def test_a_full_spool_drops_the_new_and_keeps_the_old(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When the disk's share is used up memory fills; what was there first is sent when the pipeline is back."""
    transport = Told(*[Away("away")] * 3)
    transport.hold.clear()
    limits = QUICK._replace(memory_events=20, spool_bytes=3000, batch_events=5)
    client = client_of(transport, tmp_path, limits=limits)

    ids = []
    for _ in range(60):
        ids.append(client.emit(**USED))
        until(lambda: client.stats().buffered in (0, 20) or client._delivery._disk_not_before)
    dropped = ids.count(None)

    assert dropped == client.stats().dropped > 0
    assert "the spool is full" in caplog.text
    transport.hold.set()
    assert client.flush(10)
    assert [event["id"] for event in transport.events if event["id"] in ids][-1] == [each for each in ids if each][-1]
    assert {event["id"] for event in transport.events} == {each for each in ids if each}
    client.close()


def test_a_disk_that_fails_leaves_events_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A spool that cannot be written is said, and costs nothing while memory has room."""
    (tmp_path / "file").touch()
    transport = Told(Away("away"), Away("away"), Away("away"), Away("away"), Away("away"), Away("away"))
    client = client_of(transport, tmp_path / "file" / "spool")

    client.emit(**USED)

    assert client.flush(10)
    assert "the spool cannot be written" in caplog.text
    client.close()


def test_a_batch_that_is_too_large_is_halved(tmp_path: Path) -> None:
    """One event that is refused alone does not take the others of its batch with it."""
    transport = Told(TooLarge("too_large", "no"), TooLarge("too_large", "no"), TooLarge("too_large", "no"))
    client = client_of(transport, tmp_path, limits=QUICK._replace(linger_s=1.0))

    ids = [client.emit(**USED) for _ in range(4)]
    assert client.flush(10)

    assert transport.ids == [ids, ids[:2], ids[:1], ids[1:2], ids[2:]]
    assert (client.stats().accepted, client.stats().rejected) == (3, 1)
    client.close()


def test_what_is_refused_for_good_is_kept_for_the_operator(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A rejected event is not sent again; it is logged, and stands with its reason in a file."""
    transport = Told(Answered([Refusal(1, "unknown_customer", "subject: who?")]))
    client = client_of(transport, tmp_path, limits=QUICK._replace(linger_s=1.0))

    ids = [client.emit(**USED) for _ in range(3)]
    assert client.flush(10)
    client.close()

    kept = [json.loads(line) for path in tmp_path.rglob(REJECTED) for line in path.read_text().splitlines()]
    assert [(each["code"], each["message"], each["event"]["id"]) for each in kept] == [
        ("unknown_customer", "subject: who?", ids[1])
    ]
    assert "1 events were refused for good, the first: unknown_customer" in caplog.text
    assert len(transport.attempts) == 1


def test_a_pipeline_that_wants_a_pause_is_given_it() -> None:
    """Retry-After is waited for."""
    transport = Told(Away("busy", retry_after_s=0.3))
    client = client_of(transport)

    client.emit(**USED)

    assert not client.flush(0.2)
    assert len(transport.attempts) == 1
    assert client.flush(10)
    client.close()


def test_closing_sends_what_is_left() -> None:
    """Nothing lingers at the end."""
    transport = Told()
    client = client_of(transport, limits=Limits(linger_s=60))
    ids = [client.emit(**USED) for _ in range(3)]

    client.close()

    assert transport.ids == [ids]
    assert transport.closed.wait(5)
    assert client.emit(**USED) is None
    assert client.stats().dropped == 1


def test_closing_leaves_on_disk_what_cannot_be_sent(tmp_path: Path) -> None:
    """The rest is there for the next process, which sends it even if it emits nothing itself."""
    first = client_of(Told(*[Away("away")] * 9), tmp_path)
    ids = [first.emit(**USED) for _ in range(3)]
    first.close()

    assert (first.stats().spooled, first.stats().dropped) == (3, 0)
    transport = Told()
    second = client_of(transport, tmp_path)
    until(lambda: second.stats().accepted == 3)

    assert transport.ids == [ids]
    assert second.stats().inherited == 3
    second.close()
    assert segments(tmp_path) == []


def test_closing_takes_no_longer_than_it_is_given() -> None:
    """A pipeline that hangs does not keep the host from ending; what is lost then is counted."""
    transport = Told()
    transport.hold.clear()
    client = client_of(transport)
    client.emit(**USED)

    client.close(timeout_s=0.2)

    assert client.stats().dropped == 1
    transport.hold.set()


def test_a_signal_handler_may_emit() -> None:
    """A handler that runs while its own thread is in the midst of emit does not wait for itself."""
    transport = Told()
    client = client_of(transport)
    before = signal.signal(signal.SIGALRM, lambda *_: client.emit(**USED | {"feature": "handler"}))
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0005)
    try:
        for _ in range(2000):
            client.emit(**USED)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert client.flush(10)
    client.close()
    ids = [event["id"] for event in transport.events]
    assert len(set(ids)) == len(ids) == client.stats().emitted > 2000


@pytest.mark.rule("R2.1")
def test_no_limits_make_a_batch_that_is_rejected_as_a_whole() -> None:
    """Whatever a host sets, a batch stays below 10,000 events and 1 MiB."""
    transport = Told()
    transport.hold.clear()
    wide = Limits(batch_events=10**6, batch_bytes=10**9, memory_bytes=10**9)
    client = client_of(transport, limits=wide)
    for _ in range(12_000):
        client.emit(**USED | {"operation": "x" * 128})

    transport.hold.set()
    assert client.flush(20)
    client.close()
    assert max(len(json.dumps(attempt, separators=(",", ":"))) for attempt in transport.attempts) < 1 << 20


def test_what_others_have_left_does_not_hold_up_what_is_new(tmp_path: Path) -> None:
    """Inherited events and new ones are sent by turns."""
    limits = QUICK._replace(batch_events=2)
    first = client_of(Told(*[Away("away")] * 9), tmp_path, limits=limits)
    left = [first.emit(**USED) for _ in range(10)]
    first.close()
    transport = Told()
    transport.hold.clear()
    second = client_of(transport, tmp_path, limits=limits)
    until(lambda: transport.attempts)

    new = [second.emit(**USED) for _ in range(10)]
    transport.hold.set()
    assert second.flush(10)
    until(lambda: second.stats().accepted == 20)

    assert [event["id"] for event in transport.events if event["id"] in left] == left
    assert [event["id"] for event in transport.events if event["id"] in new] == new
    assert transport.ids[1][0] == new[0] or transport.ids[2][0] == new[0]
    second.close()


def test_what_goes_to_disk_counts_as_in_memory_until_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that trusts `buffered` at 0 before it kills a process loses nothing, however slow the disk is."""
    transport = Told(*[Away("away")] * 1000)
    client = client_of(transport, spool=tmp_path, limits=QUICK._replace(batch_events=10))
    append, seen = Spools.append, []

    def slow(spools: Spools, events: Sequence[bytes]) -> Position:
        seen.append((client.stats().buffered, len(events)))
        return append(spools, events)

    monkeypatch.setattr(Spools, "append", slow)
    for _ in range(50):
        client.emit(**USED)
    until(lambda: client.stats().buffered == 0)

    assert sum(events for _, events in seen) == 50
    assert all(buffered >= events for buffered, events in seen)
    client.close(0)

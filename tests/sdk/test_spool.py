"""The spool: a queue on disk that survives its owner."""

import errno
import os
import stat
import tempfile
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pipeline.sdk import spool as spool_module
from pipeline.sdk.events import Sender
from pipeline.sdk.segments import lines_of
from pipeline.sdk.spool import Spool
from pipeline.sdk.spools import REJECTED, SpoolFull, Spools
from tests.sdk.support import segments

EVENT = b'{"id":"%d"}'
SENDER = Sender("dep", "acme", "production")


def some(*numbers: int) -> list[bytes]:
    return [EVENT % number for number in numbers]


def drained(spool: Spool) -> list[bytes]:
    """Return and acknowledge everything in a spool."""
    found: list[bytes] = []
    while not spool.is_empty:
        events, position = spool.peek(events_max=3, bytes_max=1000)
        spool.acknowledge(position, len(events))
        found += events
    return found


class SpoolMachine(RuleBasedStateMachine):
    """Whatever is done to a spool, crashes and torn tails among it, what comes out is what went in, in order."""

    @initialize(segment_bytes=st.integers(1, 300))
    def start(self, segment_bytes: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(spool_module, "SEGMENT_BYTES", segment_bytes)
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.spool = Spool.create(self.folder)
        self.model: list[bytes] = []
        self.count = 0
        self.adopted = False

    @precondition(lambda self: not self.adopted)
    @rule(events=st.integers(1, 8))
    def append(self, events: int) -> None:
        new = some(*range(self.count, self.count + events))
        self.count += events
        self.spool.append(new)
        self.model += new

    @rule(events_max=st.integers(1, 5), bytes_max=st.integers(1, 100))
    def send(self, events_max: int, bytes_max: int) -> None:
        events, position = self.spool.peek(events_max=events_max, bytes_max=bytes_max)
        assert events == self.model[: len(events)]
        assert bool(events) == bool(self.model) == (not self.spool.is_empty)
        self.spool.acknowledge(position, len(events))
        del self.model[: len(events)]
        assert self.spool.events == len(self.model)

    @rule(junk=st.binary(max_size=40).filter(lambda junk: b"\n" not in junk))
    def crash(self, junk: bytes) -> None:
        self.spool.forget()  # what the kernel does to files and locks of a process that is killed
        if found := segments(self.folder):
            with found[-1].open("ab") as tail:
                tail.write(junk)
        adopted = Spool.adopt(self.spool.folder)
        assert adopted is not None
        self.spool, self.adopted = adopted, True

    @precondition(lambda self: self.adopted)
    @rule()
    def go_on_with_a_new_one(self) -> None:
        assert drained(self.spool) == self.model
        self.spool.close()
        assert list(self.folder.iterdir()) == []
        self.spool, self.model, self.adopted = Spool.create(self.folder), [], False

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            assert drained(self.spool) == self.model
            self.patch.undo()
            self.temporary.cleanup()


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    """No file or folder of a spool can be read by another user."""
    spools = Spools(tmp_path / "spool", "https://usage", SENDER, bytes_max=1000)

    spools.append(some(1))
    spools.keep_rejected([{"code": "x"}])

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in spools.folder.rglob("*")}
    assert all(mode & 0o077 == 0 for mode in modes.values()), modes
    assert stat.S_IMODE(spools.folder.stat().st_mode) == 0o700


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """Somebody who may write to the folder could make this deployment pay: it is not used."""
    spools = Spools(tmp_path, "https://usage", SENDER, bytes_max=1000)
    spools.folder.mkdir()
    spools.folder.chmod(0o777)

    with pytest.raises(PermissionError, match="nobody else"):
        spools.append(some(1))


def test_the_spool_of_a_living_owner_is_left_alone(tmp_path: Path) -> None:
    """Two processes on one folder have spools of their own; only that of a dead one is taken over."""
    one = Spools(tmp_path, "https://usage", SENDER, bytes_max=1000)
    other = Spools(tmp_path, "https://usage", SENDER, bytes_max=1000)
    one.append(some(1, 2))
    other.append(some(3))

    assert (one.adopt(), other.adopt()) == (0, 0)
    one.forget()  # it dies
    assert other.adopt() == 2

    assert drained(other.adopted[0]) == some(1, 2)
    other.drop_empty()
    assert len(segments(tmp_path)) == 1


@pytest.mark.parametrize("change", [{"endpoint": "https://other"}, {"sender": SENDER._replace(customer="globex")}])
def test_what_is_meant_for_one_destination_never_goes_to_another(tmp_path: Path, change: dict[str, object]) -> None:
    """Another endpoint, customer or deployment has another folder, and does not take over what is not its own."""
    Spools(tmp_path, "https://usage", SENDER, bytes_max=1000).append(some(1))
    told: dict[str, object] = {"endpoint": "https://usage", "sender": SENDER, "bytes_max": 1000} | change

    assert Spools(tmp_path, **told).others() == []  # type: ignore[arg-type]


def test_its_size_is_bounded_over_all_processes(tmp_path: Path) -> None:
    """What others with the same destination have left counts too."""
    one = Spools(tmp_path, "https://usage", SENDER, bytes_max=100)
    other = Spools(tmp_path, "https://usage", SENDER, bytes_max=100)
    one.append(some(*range(5)))

    with pytest.raises(SpoolFull):
        other.append(some(1))


def test_a_damaged_line_is_stepped_over(tmp_path: Path) -> None:
    """One line that the disk has spoiled does not take the others with it, and is counted."""
    spool = Spool.create(tmp_path)
    spool.append(some(1, 2, 3))
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b'"2"', b'"9"'))

    assert drained(spool) == some(1, 3)
    assert spool.damaged == 1


def test_a_spool_of_nothing_but_damage_is_empty(tmp_path: Path) -> None:
    """It does not hold up what comes after it."""
    spool = Spool.create(tmp_path)
    spool.append(some(1))
    segments(tmp_path)[0].write_bytes(b"x" * 10 + b"\n" + b"\0" * 8)
    spool.forget()

    adopted = Spool.adopt(spool.folder)

    assert adopted is not None
    assert drained(adopted) == []
    assert adopted.is_empty


def test_a_full_disk_leaves_no_half_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a write fails half-way nothing of it is there, and the next one goes well."""
    spool = Spool.create(tmp_path)
    spool.append(some(1))
    write = os.write

    def half(descriptor: int, data: memoryview) -> int:
        monkeypatch.setattr(os, "write", full)
        return write(descriptor, data[: len(data) // 2])

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="no space"):
        spool.append(some(2, 3))
    monkeypatch.setattr(os, "write", write)
    spool.append(some(4))

    assert drained(spool) == some(1, 4)


def test_a_lost_position_costs_nothing_but_sending_again(tmp_path: Path) -> None:
    """Without the note of what was acknowledged the events of the segment come again, with the ids that they have."""
    spool = Spool.create(tmp_path)
    spool.append(some(1, 2))
    events, position = spool.peek(events_max=1, bytes_max=100)
    spool.acknowledge(position, len(events))
    spool.forget()
    (spool.folder / "position").write_text("junk")

    adopted = Spool.adopt(spool.folder)

    assert adopted is not None
    assert drained(adopted) == some(1, 2)


def test_an_event_longer_than_a_batch_is_read(tmp_path: Path) -> None:
    """At least one event is read at a time, whatever its size."""
    spool = Spool.create(tmp_path)
    long = b'{"id":"%s"}' % (b"x" * 100_000)
    spool.append([long, *some(2)])

    events, _ = spool.peek(events_max=10, bytes_max=10)

    assert events == [long]


def test_a_segment_can_be_read_by_a_person() -> None:
    """A line is a checksum and the event as it is sent."""
    checksum, event = lines_of(some(1)).split()

    assert int(checksum, 16) == crc32(event)
    assert event == some(1)[0]


def test_rejected_events_are_kept_within_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of rejected events does not grow for ever."""
    monkeypatch.setattr("pipeline.sdk.spools.REJECTED_BYTES_MAX", 20)
    spools = Spools(tmp_path, "https://usage", SENDER, bytes_max=1000)
    spools.keep_rejected([{"code": "invalid_field", "n": 1}])

    with pytest.raises(SpoolFull):
        spools.keep_rejected([{"code": "invalid_field", "n": 2}])
    assert (spools.folder / REJECTED).read_text().count("\n") == 1

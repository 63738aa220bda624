"""The embedded broker's transaction coordinator: what a crash at any point leaves, and what it refuses."""

from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.embedded.kafka.batches import check
from pipeline.embedded.kafka.log import PartitionLog
from pipeline.embedded.kafka.messages import Code
from pipeline.embedded.kafka.offsets import Committed, Offsets
from pipeline.embedded.kafka.topics import Topics
from pipeline.embedded.kafka.transactions import Owner, RefusedError, Transactions
from tests.embedded.kafka_help import append, batch, kept

PLACES = [("t", 0), ("t", 1), ("u", 0)]


class Crash(Exception):  # noqa: N818 (it is no error of anybody's)
    """The process dies here."""


class World:
    """A broker's files, which it can be started on again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ms = 1_000_000
        self.topics = Topics(folder)
        self.topics.create("t", 2, {})
        self.topics.create("u", 1, {})
        self._open()

    def restart(self) -> None:
        self.topics.close()
        self.topics = Topics(self.folder)
        self._open()

    def _open(self) -> None:
        self.offsets = Offsets(self.folder / "offsets.ndjson")
        self.transactions = Transactions(
            self.folder / "transactions.ndjson", self.topics, self.offsets, now_ms=lambda: self.now_ms
        )

    def log(self, place: tuple[str, int]) -> PartitionLog:
        found = self.topics.log(*place)
        assert found is not None
        return found

    def write(self, owner: Owner, place: tuple[str, int], sequence: int = 0) -> int:
        """Append a batch as a produce request does; return the error code."""
        data = batch((b"k", b"v"), producer=(owner.producer_id, owner.epoch, sequence), transactional=True)
        refusal = self.transactions.refusal(check(data), place)
        if not refusal:
            append(self.log(place), data)
        return refusal

    def begin(self, transactional_id: str = "x") -> Owner:
        """Begin a transaction that has a record in each place, and an offset."""
        owner = self.transactions.begin_epoch(transactional_id, 1_000)
        self.transactions.add(owner, PLACES, ["g"])
        assert [self.write(owner, place) for place in PLACES] == [0, 0, 0]
        self.transactions.add_offsets(owner, "g", [(("t", 0), Committed(5, ""))])
        return owner

    def seen(self) -> list[int]:
        """Return how many records read_committed sees in each place."""
        return [len(kept(self.log(place), 0, committed=True)) for place in PLACES]

    def held(self) -> list[bool]:
        """Return whether an open transaction holds back the readers in each place."""
        return [self.log(place).stable_offset < self.log(place).end_offset for place in PLACES]


def full_disk(*_: object, **__: object) -> None:
    raise OSError("the disk is full")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("crash_at", range(5))
def test_a_crash_between_two_writes_of_the_end_is_made_up_for(world, monkeypatch, commit, crash_at):
    """Once it is decided, the transaction ends in all partitions and with its offsets, wherever the process died."""
    owner = world.begin()
    writes = 0

    def dying(write):
        def attempt(*arguments: object, **named: object) -> object:
            nonlocal writes
            writes += 1
            if writes > crash_at:
                raise Crash
            return write(*arguments, **named)

        return attempt

    with monkeypatch.context() as patch:
        patch.setattr(PartitionLog, "end_transaction", dying(PartitionLog.end_transaction))
        patch.setattr(Offsets, "commit", dying(Offsets.commit))
        with suppress(Crash):
            world.transactions.end(owner, commit=commit)
    world.restart()

    assert world.held() == [False] * 3
    assert world.seen() == [int(commit)] * 3
    assert world.offsets.of_group.get("g", {}) == ({("t", 0): Committed(5, "")} if commit else {})
    world.transactions.end(owner, commit=commit)  # its answer was lost, and it asks again
    world.transactions.add(owner, PLACES[:1])
    assert world.write(owner, PLACES[0], sequence=1) == 0


def test_a_crash_before_the_decision_leaves_it_open(world):
    """The transaction is as it was: readers wait, its producer can write into it and commit it, offsets and all."""
    owner = world.begin()

    world.restart()
    held = world.held()
    again = world.write(owner, PLACES[1], sequence=1)
    world.transactions.end(owner, commit=True)

    assert (held, again) == ([True] * 3, 0)
    assert world.seen() == [1, 2, 1]
    assert world.offsets.of_group["g"] == {("t", 0): Committed(5, "")}


def test_offsets_of_a_finished_transaction_are_not_committed_again(world):
    """A restart long after a commit does not take a group's newer offsets back to those of the transaction."""
    world.transactions.end(world.begin(), commit=True)
    world.offsets.commit("g", {("t", 0): Committed(9, "")})

    world.restart()

    assert world.offsets.of_group["g"] == {("t", 0): Committed(9, "")}


def test_a_new_owner_aborts_what_was_open_and_completes_what_was_decided(world, monkeypatch):
    """When the next producer has its epoch, nothing is open, and a commit that was decided has happened."""
    world.begin("aborted")
    owner = world.begin("decided")
    with monkeypatch.context() as patch:
        patch.setattr(PartitionLog, "end_transaction", full_disk)
        with pytest.raises(OSError, match="full"):
            world.transactions.end(owner, commit=True)

    world.transactions.begin_epoch("aborted", 1_000)
    world.transactions.begin_epoch("decided", 1_000)

    assert world.held() == [False] * 3
    assert world.seen() == [1, 1, 1]


def test_a_full_disk_changes_nothing_that_was_not_written(world, monkeypatch):
    """A partition whose addition could not be kept is not added: asked again, it is written then."""
    owner = world.transactions.begin_epoch("x", 1_000)
    with monkeypatch.context() as patch:
        patch.setattr("os.write", lambda *_: 0)
        with pytest.raises(OSError, match="full"):
            world.transactions.add(owner, PLACES)
    refused = world.write(owner, PLACES[0])

    world.transactions.add(owner, PLACES)
    world.restart()

    assert refused == Code.INVALID_TXN_STATE
    assert world.write(owner, PLACES[0]) == 0


def test_epochs_go_up_for_ever(world):
    """Each owner gets a newer epoch, over restarts too; when they are used up, a new producer id."""
    first = world.transactions.begin_epoch("x", 1_000)
    world.restart()
    second = world.transactions.begin_epoch("x", 1_000)
    owners = [world.transactions.begin_epoch("x", 1_000) for _ in range((1 << 15) - 2)]

    assert (second.producer_id, second.epoch) == (first.producer_id, first.epoch + 1)
    assert owners[-1].producer_id > first.producer_id
    assert owners[-1].epoch < 10
    assert max(owner.epoch for owner in owners) < (1 << 15) - 1
    with pytest.raises(RefusedError) as refused:
        world.transactions.add(owners[0], PLACES)
    assert refused.value.code == Code.INVALID_PRODUCER_ID_MAPPING
    assert world.write(owners[0], PLACES[0]) == Code.INVALID_PRODUCER_ID_MAPPING


def test_a_transaction_times_out_by_the_clock(world):
    """It is aborted after its timeout and not before, over a restart too, and its producer is fenced."""
    owner = world.begin()
    world.now_ms += 1_000
    world.transactions.expire()
    before = world.held()

    world.restart()
    world.now_ms += 1
    world.transactions.expire()

    assert (before, world.held()) == ([True] * 3, [False] * 3)
    assert world.seen() == [0] * 3
    assert world.write(owner, PLACES[0], sequence=1) == Code.INVALID_PRODUCER_EPOCH
    with pytest.raises(RefusedError) as refused:
        world.transactions.end(owner, commit=True)
    assert refused.value.code == Code.PRODUCER_FENCED


def test_a_transaction_that_nobody_has_is_aborted(world):
    """If a power cut took the journal but not the records, readers are not held back for ever."""
    world.begin()
    world.transactions.close()
    (world.folder / "transactions.ndjson").write_bytes(b"")

    world.restart()

    assert world.held() == [False] * 3
    assert world.seen() == [0] * 3


def test_a_plain_batch_under_a_transactional_id_is_refused(world):
    """A producer that has a transactional id cannot write outside of its transactions."""
    owner = world.begin()
    plain = check(batch((b"k", b"v"), producer=(owner.producer_id, owner.epoch, 1)))

    assert world.transactions.refusal(plain, PLACES[0]) == Code.INVALID_TXN_STATE


def test_a_deleted_topic_does_not_hold_up_the_end(world):
    """A transaction ends in the partitions that are left."""
    owner = world.begin()
    world.topics.delete("u")

    world.transactions.end(owner, commit=True)

    assert [len(kept(world.log(place), 0, committed=True)) for place in PLACES[:2]] == [1, 1]


def test_the_journal_does_not_grow_with_the_number_of_transactions(world):
    """What later lines replace is dropped, while the broker runs, and nothing that counts is lost."""
    owner = world.transactions.begin_epoch("x", 1_000)
    for _ in range(4_000):
        world.transactions.add(owner, PLACES)
        world.transactions.end(owner, commit=True)
    size = (world.folder / "transactions.ndjson").stat().st_size
    world.transactions.add(owner, PLACES[:1])
    world.restart()

    assert size < 1_200_000
    assert world.write(owner, PLACES[0]) == 0

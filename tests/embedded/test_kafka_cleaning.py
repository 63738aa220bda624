"""The embedded broker's compaction and retention: what goes, what a reader still needs, and what a restart finds."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.embedded.kafka.batches import seal
from pipeline.embedded.kafka.cleaning import clean
from pipeline.embedded.kafka.log import ClosedError, PartitionLog
from pipeline.embedded.kafka.topics import Topics
from tests.embedded.kafka_help import DAY_MS, NOW_MS, Record, append, batch, batches_of, kept

COMPACT = {"cleanup.policy": "compact"}
pytestmark = pytest.mark.asyncio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t-0.log"


@pytest.fixture
def log(path: Path) -> Iterator[PartitionLog]:
    opened = PartitionLog(path)
    yield opened
    opened.close()


def headers(log: PartitionLog) -> list[tuple[int, int, int, bool]]:
    """Return base offset, last offset, number of records and whether it is a marker, of each batch."""
    data = log.read(0, 1 << 30).data
    return [(one.base_offset, one.last_offset, one.record_count, one.is_control) for one, _ in batches_of(data)]


def reopened(path: Path) -> PartitionLog:
    """Return what a broker that starts now would find in the file."""
    return PartitionLog(path)


async def test_compaction_keeps_the_newest_of_each_key(log, path):
    """Superseded records go, also out of the middle of a batch; the last batch stays and replaces nothing yet."""
    for key, value in ((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (None, b"n"), (b"c", b"1"), (b"a", b"3")):
        append(log, batch((key, value)))
    append(log, batch((b"d", b"1"), (b"b", b"2"), (b"e", b"1"), (b"c", b"2")))
    append(log, batch((b"e", b"2")))
    append(log, batch((b"a", b"3")))

    await clean(log, COMPACT)
    again = reopened(path)

    expected = [(3, None, b"n"), (5, b"a", b"3"), (6, b"d", b"1"), (7, b"b", b"2"), (9, b"c", b"2"), (10, b"e", b"2")]
    expected.append((11, b"a", b"3"))
    assert kept(log) == kept(again) == expected
    assert headers(log)[2:] == [(6, 9, 3, False), (10, 10, 1, False), (11, 11, 1, False)]
    assert append(log, batch((b"d", b"2"))) == 12
    again.close()


@pytest.mark.parametrize("codec", [0, 1])
async def test_a_batch_with_fewer_records_keeps_what_the_others_carried(log, codec):
    """Key, value and time of the records that stay are as they were, compressed or not; the batch keeps its newest time."""
    keys = [b"k%d" % number for number in range(50)]
    append(log, batch(*((key, b"v" * 40) for key in keys), codec=codec))
    append(log, batch(*((key, b"w") for key in keys[10:])))
    append(log, batch((b"last", b"")))

    await clean(log, COMPACT)

    assert kept(log)[:10] == [(number, keys[number], b"v" * 40) for number in range(10)]
    assert log.offset_at(NOW_MS + 7) == (7, NOW_MS + 7)
    assert log.offset_at(NOW_MS + 30) == (80, NOW_MS + 30)


async def test_a_batch_that_cannot_be_read_stays(log):
    """A batch that says it is compressed and is not is kept as it came, and cleaning goes on."""
    broken = bytearray(batch((b"a", b"1"), (b"b", b"1")))
    broken[22] |= 1  # gzip, it says
    seal(broken)
    append(log, memoryview(broken))
    append(log, batch((b"a", b"2")))
    append(log, batch((b"a", b"3")))
    append(log, batch((b"z", b"1")))

    await clean(log, COMPACT)

    assert [base for base, *_ in headers(log)] == [0, 3, 4]
    assert log.offset_at(NOW_MS) == (0, NOW_MS + 1)


async def test_compaction_forgets_old_tombstones_only(log):
    """A tombstone stays for `delete.retention.ms`, so that readers learn of it, and goes then."""
    append(log, batch((b"old", None), time_ms=NOW_MS - 2 * DAY_MS))
    append(log, batch((b"new", None)))
    append(log, batch((b"x", b"1")))

    await clean(log, {**COMPACT, "delete.retention.ms": str(DAY_MS)})
    assert [key for _, key, _ in kept(log)] == [b"new", b"x"]

    await clean(log, {**COMPACT, "delete.retention.ms": "-1000"})
    assert [key for _, key, _ in kept(log)] == [b"x"]


async def test_a_tombstone_with_an_old_time_is_as_young_as_its_neighbours(log):
    """A producer may set any time; what was appended after something recent is recent."""
    append(log, batch((b"x", b"1")))
    append(log, batch((b"young", None), time_ms=NOW_MS - 9 * DAY_MS))
    append(log, batch((b"y", b"1")))

    await clean(log, COMPACT)

    assert [key for _, key, _ in kept(log)] == [b"x", b"young", b"y"]


async def test_cleaning_keeps_a_living_producers_place(log, path):
    """A producer whose records are all replaced goes on with its next number after a restart; a repeat is still found."""
    append(log, batch((b"a", b"1"), producer=(7, 0, 0)))
    append(log, batch((b"a", b"2"), (b"b", b"1"), producer=(7, 0, 1)))
    append(log, batch((b"a", b"3"), (b"b", b"2"), producer=(8, 0, 0)))
    append(log, batch((b"z", b"")))

    await clean(log, COMPACT)
    again = reopened(path)

    assert [value for _, _, value in kept(again)] == [b"3", b"2", b""]
    assert headers(again) == [(1, 2, 0, False), (3, 4, 2, False), (5, 5, 1, False)]
    assert append(again, batch((b"a", b"2"), (b"b", b"1"), producer=(7, 0, 1))) == 1
    assert append(again, batch((b"a", b"4"), producer=(7, 0, 3))) == 6
    again.close()


async def test_a_producer_gone_for_a_day_leaves_nothing(log):
    """What is replaced goes as a whole, when its producer has not been there for a day."""
    append(log, batch((b"a", b"1"), producer=(7, 0, 0), time_ms=NOW_MS - 2 * DAY_MS))
    append(log, batch((b"a", b"2")))
    append(log, batch((b"b", b"1")))

    await clean(log, COMPACT)

    assert headers(log) == [(1, 1, 1, False), (2, 2, 1, False)]


async def test_compaction_stops_at_an_open_transaction(log):
    """Nothing at or above the last stable offset is touched, nor does it replace anything below."""
    append(log, batch((b"a", b"1")))
    append(log, batch((b"a", b"2")))
    append(log, batch((b"a", b"3"), producer=(7, 0, 0), transactional=True))
    append(log, batch((b"a", b"4")))
    append(log, batch((b"a", b"5")))

    await clean(log, COMPACT)

    assert [offset for offset, _, _ in kept(log)] == [1, 2, 3, 4]
    assert (log.stable_offset, log.end_offset) == (2, 5)
    log.end_transaction(7, 0, commit=False)
    await clean(log, COMPACT)
    assert [offset for offset, _, _ in kept(log)] == [4]


async def test_what_was_aborted_goes_and_replaces_nothing(log, path):
    """An aborted record never replaces a committed one; it goes, and so does its marker if nothing else needs that."""
    append(log, batch((b"a", b"1"), producer=(6, 0, 0), transactional=True))
    log.end_transaction(6, 0, commit=True)
    append(log, batch((b"a", b"aborted"), producer=(7, 0, 0), transactional=True))
    log.end_transaction(7, 0, commit=False)
    append(log, batch((b"b", b"1"), producer=(7, 0, 1), transactional=True))
    log.end_transaction(7, 0, commit=True)
    append(log, batch((b"z", b"1")))

    await clean(log, COMPACT)
    again = reopened(path)

    assert (
        kept(log, committed=True) == kept(again, committed=True) == [(0, b"a", b"1"), (4, b"b", b"1"), (6, b"z", b"1")]
    )
    assert [base for base, *_ in headers(log)] == [0, 1, 4, 5, 6]
    assert log.aborted() == again.aborted() == []
    again.close()


async def test_a_fenced_epoch_stays_fenced(log, path):
    """The marker that fenced a producer is kept while it is recent, so that its old epoch is refused after a restart."""
    append(log, batch((b"a", b"1"), producer=(7, 3, 0), transactional=True))
    log.end_transaction(7, 4, commit=False)
    append(log, batch((b"a", b"2")))
    append(log, batch((b"a", b"3")))

    await clean(log, COMPACT)
    again = reopened(path)

    with pytest.raises(ValueError, match="epoch 3 of producer 7 is over"):
        append(again, batch((b"a", b"late"), producer=(7, 3, 1)))
    again.close()


async def test_appends_and_readers_go_on_while_it_cleans(log, path):
    """What is appended during cleaning, at any moment, is in the cleaned log, and a reader never misses a key."""
    for number in range(3_000):
        append(log, batch((b"k%d" % (number % 10), b"%d" % number), (b"once%d" % number, b"x" * 400)))
    cleaning = asyncio.create_task(clean(log, COMPACT))
    written: list[Record] = []
    while not cleaning.done():
        await asyncio.sleep(0)
        value = b"during%d" % len(written)
        written.append((append(log, batch((b"k1", value))), b"k1", value))
        assert kept(log, written[0][0]) == written if len(written) % 50 == 0 else True
    await cleaning

    again = reopened(path)
    assert len(written) > 10
    assert kept(log) == kept(again)
    assert kept(log)[-len(written) :] == written
    assert len([key for _, key, _ in kept(log) if key.startswith(b"once")]) == 3_000
    again.close()


@pytest.mark.parametrize("moment", ["reading", "flushing"])
async def test_a_topic_deleted_while_it_is_cleaned_is_gone(tmp_path, monkeypatch, moment):
    """Cleaning gives up, and leaves no file behind, which would be another topic's of that name."""
    flushing = asyncio.Event()

    async def flush(*_: object) -> None:
        flushing.set()
        await asyncio.sleep(0.01)

    monkeypatch.setattr("asyncio.to_thread", flush)
    topics = Topics(tmp_path)
    topics.create("t", 1, COMPACT)
    log = topics.topics["t"].logs[0]
    for number in range(3_000):
        append(log, batch((b"k", b"%d" % number), (b"once%d" % number, b"x" * 400)))
    cleaning = asyncio.create_task(clean(log, COMPACT))
    await (flushing.wait() if moment == "flushing" else asyncio.sleep(0))

    topics.delete("t")

    with pytest.raises(ClosedError):
        await cleaning
    assert list((tmp_path / "logs").iterdir()) == []
    topics.close()


async def test_a_crash_while_cleaning_leaves_the_log_as_it_was(log, path):
    """A half written replacement is thrown away at the next start."""
    append(log, batch((b"a", b"1")))
    path.with_suffix(".cleaned").write_bytes(b"half")

    again = reopened(path)

    assert kept(again) == [(0, b"a", b"1")]
    assert list(path.parent.iterdir()) == [path]
    again.close()


async def test_retention_takes_the_beginning_only(log):
    """Batches older than retention.ms go, up to the first that is not; -1 keeps all, and so does a compacted topic."""
    append(log, batch((b"a", b"old"), time_ms=NOW_MS - 10 * DAY_MS))
    append(log, batch((b"b", b"new")))
    append(log, batch((b"c", b"late import"), time_ms=NOW_MS - 9 * DAY_MS))
    append(log, batch((b"d", b"new")))

    await clean(log, {"cleanup.policy": "delete", "retention.ms": "-1"})
    await clean(log, {"cleanup.policy": "compact", "retention.ms": str(DAY_MS)})
    assert log.first_offset == 0
    await clean(log, {"cleanup.policy": "delete", "retention.ms": str(DAY_MS)})

    assert [offset for offset, _, _ in kept(log)] == [1, 2, 3]


async def test_retention_stops_at_an_open_transaction(log):
    """Records of a transaction that is not ended stay, however old they say they are."""
    append(log, batch((b"a", b"1"), time_ms=0))
    append(log, batch((b"b", b"1"), producer=(7, 0, 0), transactional=True, time_ms=0))
    append(log, batch((b"c", b"1"), time_ms=0))
    append(log, batch((b"d", b"1")))

    await clean(log, {"cleanup.policy": "delete", "retention.ms": str(DAY_MS)})

    assert [offset for offset, _, _ in kept(log)] == [1, 2, 3]


async def test_a_log_is_cleaned_when_it_has_grown(tmp_path):
    """A log is cleaned from `segment.bytes` on, and again when its size has doubled; the sizes outlive a restart."""
    configs = {**COMPACT, "segment.bytes": "10000", "min.cleanable.dirty.ratio": "0.5"}
    topics = Topics(tmp_path)
    topics.create("t", 1, configs)

    async def grow(count: int) -> tuple[int, int]:
        log = topics.topics["t"].logs[0]
        for number in range(count):
            append(log, batch((b"k%d" % (number % 100), b"v" * 100)))
        before = log.size_bytes
        await topics.clean_grown()
        return before, log.size_bytes

    small, large = await grow(20), await grow(400)
    topics.close()
    topics = Topics(tmp_path)
    grown = await grow(50), await grow(100)
    topics.close()

    assert small[0] == small[1] < 10_000
    assert large[1] < large[0] / 3
    assert grown[0][0] == grown[0][1] > 10_000
    assert grown[1][1] < grown[1][0] / 1.9


class _Writer:
    """A producer that writes at random, and remembers what counts."""

    def __init__(self, log: PartitionLog, chance: random.Random, producer_id: int, counts: list[Record]) -> None:
        self._log, self._chance, self._id, self._counts = log, chance, producer_id, counts
        self._epoch = self._sequence = 0
        self._pending: list[Record] = []
        self._open = False

    def step(self) -> None:
        transactional = self._id % 3 > 0
        if self._open and self._chance.random() < 0.3:
            commit = self._chance.random() < 0.6
            if not commit and self._chance.random() < 0.3:
                self._epoch, self._sequence = self._epoch + 1, 0
            self._log.end_transaction(self._id, self._epoch, commit=commit)
            self._counts += self._pending if commit else []
            self._pending, self._open = [], False
            return
        records = [
            (
                b"k%d" % self._chance.randrange(12),
                None if self._chance.random() < 0.1 else b"%d" % self._chance.getrandbits(40),
            )
            for _ in range(self._chance.randrange(1, 6))
        ]
        data = batch(*records, producer=(self._id, self._epoch, self._sequence), transactional=transactional)
        base = append(self._log, data)
        self._sequence += len(records)
        placed = [(base + number, key, value) for number, (key, value) in enumerate(records)]
        self._open = transactional
        if transactional:
            self._pending += placed
        else:
            self._counts += placed


def state_of(records: list[Record]) -> dict[bytes | None, Record]:
    """Return what somebody who applies the records in their order knows of each key."""
    return {record[1]: record for record in sorted(records)}


@pytest.mark.parametrize("seed", range(40))
async def test_whoever_reads_a_cleaned_log_knows_the_same(log, path, seed):
    """For any mix of transactions and producers: committed state, end, stable offset and numbers are as without cleaning."""
    chance, counts = random.Random(seed), []
    writers = [_Writer(log, chance, number, counts) for number in range(6)]
    for _ in range(4):
        for _ in range(chance.randrange(10, 80)):
            chance.choice(writers).step()
        end, stable = log.end_offset, log.stable_offset
        expected = state_of([record for record in counts if record[0] < stable])
        size = log.size_bytes

        await clean(log, COMPACT)
        again = reopened(path)

        for one in (log, again):
            assert (one.end_offset, one.stable_offset) == (end, stable)
            found = kept(one, committed=True)
            assert state_of(found) == expected
            assert set(found) <= set(counts)
            assert sorted(one.open_transactions()) == sorted(log.open_transactions())
            start = chance.randrange(end)
            assert kept(one, start, committed=True) == [record for record in found if record[0] >= start]
        assert log.size_bytes <= size
        again.close()

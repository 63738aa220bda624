"""The embedded broker's files: what a crash, a repeated batch and cleaning do to a partition."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.embedded.kafka.batches import BatchError, TooOldError, check, marker
from pipeline.embedded.kafka.log import PartitionLog
from pipeline.embedded.kafka.offsets import Committed, Offsets
from pipeline.embedded.kafka.producers import FencedError, SequenceError
from pipeline.embedded.kafka.topics import TopicError, Topics
from pipeline.embedded.kafka.wire import Reader, fields, write
from tests.embedded.kafka_help import append, batch, kept


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t-0.log"


@pytest.fixture
def log(path: Path) -> Iterator[PartitionLog]:
    opened = PartitionLog(path)
    yield opened
    opened.close()


def test_an_empty_log_begins_at_zero(log):
    """A new partition has no records and gives its first one offset 0."""
    assert (log.first_offset, log.end_offset, log.read(0, 100).data) == (0, 0, b"")


def test_batches_get_consecutive_offsets(log):
    """Each batch begins where the one before ended."""
    assert [append(log, batch((b"k", b"1"), (b"k", b"2"))), append(log, batch((b"k", b"3")))] == [0, 2]
    assert [offset for offset, _, _ in kept(log)] == [0, 1, 2]


@pytest.mark.parametrize("cut", [1, 30, 61, 70])
def test_a_batch_cut_by_a_crash_is_taken_off(path, cut):
    """A last batch that is not there as a whole is dropped, and its offset is given out again."""
    first = PartitionLog(path)
    append(first, batch((b"a", b"kept")))
    whole = path.stat().st_size
    append(first, batch((b"b", b"lost" * 10)))
    first.close()
    with path.open("r+b") as file:
        file.truncate(whole + cut)

    again = PartitionLog(path)

    assert kept(again) == [(0, b"a", b"kept")]
    assert path.stat().st_size == whole
    assert append(again, batch((b"c", b"next"))) == 1
    again.close()


def test_a_damaged_last_batch_is_taken_off(path):
    """A last batch whose bytes did not all reach the disk is dropped, because its checksum is wrong."""
    first = PartitionLog(path)
    append(first, batch((b"a", b"kept")))
    append(first, batch((b"b", b"lost" * 10)))
    first.close()
    with path.open("r+b") as file:
        file.seek(-20, 2)
        file.write(bytes(20))

    again = PartitionLog(path)

    assert kept(again) == [(0, b"a", b"kept")]
    again.close()


def test_a_repeated_batch_is_kept_once(log, path):
    """A batch of an idempotent producer that is sent again gets its first offset, also after a restart."""
    data = batch((b"k", b"1"), (b"k", b"2"), producer=(7, 0, 0))
    second = batch((b"k", b"3"), producer=(7, 0, 2))

    assert [append(log, data), append(log, second), append(log, data), append(log, second)] == [0, 2, 0, 2]
    again = PartitionLog(path)

    assert append(again, second) == 2
    assert again.end_offset == 3
    again.close()


def test_a_gap_and_an_old_epoch_are_refused(log):
    """A producer that skipped a batch, or that a newer epoch replaced, is told so and appends nothing."""
    append(log, batch((b"k", b"1"), producer=(7, 1, 0)))

    with pytest.raises(SequenceError):
        append(log, batch((b"k", b"x"), producer=(7, 1, 5)))
    with pytest.raises(FencedError):
        append(log, batch((b"k", b"x"), producer=(7, 0, 1)))
    assert append(log, batch((b"k", b"2"), producer=(7, 2, 0))) == 1
    assert log.end_offset == 2


def test_only_whole_batches_of_format_2_are_taken():
    """A cut, damaged, doubled or old batch, or a marker that is not the broker's own, is refused."""
    good = batch((b"k", b"v"))
    damaged = bytearray(good)
    damaged[-1] ^= 1
    old = bytearray(good)
    old[16] = 1

    end = marker(7, 0, commit=True, time_ms=0)

    for bad in (good[:-1], good[:20], memoryview(b""), memoryview(bytes(good) * 2), memoryview(damaged), end):
        with pytest.raises(BatchError):
            check(bad)
    with pytest.raises(TooOldError):
        check(memoryview(old))
    assert check(good).record_count == 1


def test_a_read_keeps_to_its_size_but_makes_progress(log):
    """A read returns whole batches up to its limit, and one batch when even that is larger."""
    for number in range(10):
        append(log, batch((b"k", b"%d" % number * 100)))
    one = len(log.read(0, 1).data)

    assert len(log.read(0, 3 * one).data) == 3 * one
    assert len(log.read(0, 3 * one - 1).data) == 2 * one
    assert len(log.read(9, 1 << 20).data) == one
    assert log.read(10, 1 << 20).data == b""
    assert log.bytes_from(8) == 2 * one


def test_a_time_finds_its_first_record(log):
    """The first record at or after a time is found within its batch."""
    append(log, batch((b"k", b"1"), (b"k", b"2"), (b"k", b"3"), time_ms=1_000))
    append(log, batch((b"k", b"4"), time_ms=5_000))

    assert log.offset_at(0) == (0, 1_000)
    assert log.offset_at(1_001) == (1, 1_001)
    assert log.offset_at(2_000) == (3, 5_000)
    assert log.offset_at(5_001) is None


def test_topics_stay_and_a_recreated_one_is_empty(tmp_path):
    """Topics with their settings are there after a restart; a deleted topic's records never come back."""
    topics = Topics(tmp_path)
    topics.create("t", 2, {"cleanup.policy": "compact"})
    append(topics.topics["t"].logs[1], batch((b"k", b"v")))
    topics.close()
    topics = Topics(tmp_path)

    assert topics.topics["t"].configs == {"cleanup.policy": "compact"}
    assert [log.end_offset for log in topics.topics["t"].logs] == [0, 1]
    topics.delete("t")
    topics.create("t", 2, {})
    assert [log.end_offset for log in topics.topics["t"].logs] == [0, 0]
    topics.close()


@pytest.mark.parametrize(
    ("name", "partitions", "configs", "code"),
    [
        ("t", 1, {}, "exists"),
        ("a/b", 1, {}, "name"),
        ("..", 1, {}, "name"),
        ("u", 0, {}, "partitions"),
        ("u", 1, {"cleanup.policy": "shred"}, "config"),
        ("u", 1, {"retention.ms": "a week"}, "config"),
        ("u", 1, {"min.cleanable.dirty.ratio": "half"}, "config"),
    ],
)
def test_a_topic_that_cannot_be_is_refused(tmp_path, name, partitions, configs, code):
    """A second topic of a name, a bad name, no partitions or a bad setting are refused with their reason."""
    topics = Topics(tmp_path)
    topics.create("t", 1, {})

    with pytest.raises(TopicError) as refused:
        topics.create(name, partitions, configs)

    assert refused.value.code == code
    topics.close()


def test_one_broker_has_the_folder(tmp_path):
    """A second broker on the same folder is refused, as it would write over the first one's records."""
    topics = Topics(tmp_path)

    with pytest.raises(BlockingIOError):
        Topics(tmp_path)

    topics.close()
    Topics(tmp_path).close()


def test_committed_offsets_stay(tmp_path):
    """The last commit of each place is there after a restart, even when a crash cut the last line."""
    path = tmp_path / "offsets.ndjson"
    offsets = Offsets(path)
    offsets.commit("g", {("t", 0): Committed(1, "")})
    offsets.commit("g", {("t", 0): Committed(2, "näte"), ("u", 1): Committed(9, "")})
    offsets.close()
    with path.open("a") as file:
        file.write('["g", "t", 0, 3')

    again = Offsets(path)
    again.forget_topic("u")
    again.close()

    assert Offsets(path).of_group == {"g": {("t", 0): Committed(2, "näte")}}


def test_a_message_is_read_as_it_was_written():
    """Every kind of field round-trips, and a version leaves out the fields it does not have."""
    layout = fields("""
        flag bool
        name string
        newer i64 2+
        items [
            number i16
            data bytes
            numbers []i32
        ]
    """)
    item = {"number": -5, "data": b"\x00\xff", "numbers": [1, -2]}
    message = {"flag": True, "name": "ä", "newer": 1 << 60, "items": [item, {"number": 1, "data": None, "numbers": []}]}

    for version, expected in ((1, {key: value for key, value in message.items() if key != "newer"}), (2, message)):
        out = bytearray()
        write(out, layout, version, message)
        assert Reader(memoryview(out)).message(layout, version) == expected


def test_a_cut_or_absurd_message_is_refused():
    """A request that ends early, or announces an array larger than itself, is an error and not a crash."""
    layout = fields("items []i32")

    for data in (b"", b"\x00\x00\x00\x02\x00\x00", b"\x7f\xff\xff\xff"):
        with pytest.raises(ValueError, match="request"):
            Reader(memoryview(data)).message(layout, 0)

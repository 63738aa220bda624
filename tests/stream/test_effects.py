"""The records that carry a round's effects."""

import pytest
from aiokafka.errors import ProducerFenced
from aiokafka.producer.message_accumulator import BatchBuilder

from pipeline.codec.lines import COLUMNS, LineBlock
from pipeline.codec.states import Positions
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.observe.counters import Counters
from pipeline.rating.ledger import ChangedState, DeadLetter, Effects
from pipeline.settings import load_settings
from pipeline.stream.effects import (
    BATCH_BYTES,
    BATCH_BYTES_MAX,
    OutRecord,
    PartitionWriter,
    StateTooLargeError,
    dead_letter_record,
    line_record,
)


class FakeProducer:
    """Keeps the batches that would be sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, BatchBuilder] | str] = []

    async def begin_transaction(self) -> None:
        self.sent.append("begin")

    async def commit_transaction(self) -> None:
        self.sent.append("commit")

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(BATCH_BYTES_MAX, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int):
        self.sent.append((topic, partition, batch))

        async def acknowledged() -> None:
            pass

        return acknowledged()


def new_writer() -> tuple[PartitionWriter, FakeProducer]:
    writer = PartitionWriter(load_settings(), Counters(), 1)
    writer._producer = FakeProducer()
    return writer, writer._producer


def states(*customers: tuple[str, list[int]]) -> Effects:
    parts = [
        ChangedState(name, [(b"%s-%d" % (name.encode(), at), b"x" * size) for at, size in enumerate(sizes)])
        for name, sizes in customers
    ]
    return Effects([], [], [], parts, [], [], 0, 0, None)


def test_a_block_of_lines_is_one_record():
    """The record says how many lines it holds, and what stands where in them."""
    record = line_record(LineBlock(b'["a",1]\n["a",2]', 2))

    assert (record.key, record.value) == (None, b'["a",1]\n["a",2]')
    assert dict(record.headers) == {"content-type": b"application/x-ndjson", "lines": b"2", "columns": COLUMNS}


@pytest.mark.rule("R2.3")
def test_a_dead_letter_says_why_and_where_from():
    """Headers hold code, message and place; of the source's own only those that rating looks at."""
    record = Record(
        EVENTS_TOPIC, 3, 42, 1700, b"acme", b"[1]", (("content-type", b"t"), ("x-usage-import", b"offline"), ("z", b""))
    )

    letter = dead_letter_record(DeadLetter(record, 0, "malformed", "event: is a number", b"1"))

    assert (letter.key, letter.value) == (b"acme", b"1")
    assert letter.headers == [
        ("code", b"malformed"),
        ("message", b"event: is a number"),
        ("source-topic", b"usage.events"),
        ("source-partition", b"3"),
        ("source-offset", b"42"),
        ("source-timestamp", b"1700"),
        ("source-index", b"0"),
        ("content-type", b"t"),
        ("x-usage-import", b"offline"),
    ]


def test_a_whole_record_has_no_index():
    """A dead letter of a whole record does not pretend to be one event of a batch."""
    record = Record(EVENTS_TOPIC, 0, 0, 0, None, None)

    assert "source-index" not in dict(dead_letter_record(DeadLetter(record, None, "malformed", "m", b"")).headers)


@pytest.mark.asyncio
async def test_a_customers_state_is_never_split():
    """Many customers share a batch, but all parts of one lie in the same, however large the others are."""
    writer, producer = new_writer()
    third = BATCH_BYTES_MAX // 3

    await writer.write(
        states(("a", [third, third // 2]), ("b", [10]), ("c", [third, third]), ("d", [5, 5])), Positions(5, 6)
    )

    assert [(topic, partition, batch.record_count()) for topic, partition, batch in producer.sent[1:-1]] == [
        ("usage.states", 1, 2),
        ("usage.states", 1, 3),
        ("usage.states", 1, 3),
    ]


@pytest.mark.asyncio
async def test_a_batch_is_closed_at_a_size_that_is_cheap_to_copy():
    """Small states share batches that are closed as soon as they have reached BATCH_BYTES."""
    writer, producer = new_writer()

    await writer.write(states(*((f"c{number}", [BATCH_BYTES // 4]) for number in range(9))), Positions(5, 6))

    assert [batch.record_count() for _, _, batch in producer.sent[1:-1]] == [4, 4, 2]


@pytest.mark.asyncio
async def test_a_round_is_one_transaction():
    """Lines, alerts, dead letters, states and positions lie between one begin and one commit."""
    writer, producer = new_writer()
    letter = DeadLetter(Record(EVENTS_TOPIC, 1, 4, 0, None, None), None, "malformed", "m", b"")
    changed = [ChangedState("a", [(b"a", b"1")])]

    await writer.write(
        Effects([LineBlock(b"[]", 1)], [letter], [(b"a", b"{}")], changed, [], [], 1, 0, None), Positions(5, 0)
    )

    begin, *sends, commit = producer.sent
    assert (begin, commit) == ("begin", "commit")
    assert sorted((topic, batch.record_count()) for topic, _, batch in sends) == [
        ("usage.alerts", 1),
        ("usage.dead-letter", 1),
        ("usage.lines", 1),
        ("usage.states", 2),
    ]


@pytest.mark.asyncio
async def test_a_transaction_that_failed_is_not_committed():
    """When a send fails the error goes up; nothing is committed and nothing counted."""
    writer, producer = new_writer()

    async def refused(*_: object, **__: object) -> None:
        raise ProducerFenced

    producer.send_batch = refused

    with pytest.raises(ProducerFenced):
        await writer.write(states(("a", [1])), Positions(1, 1))

    assert producer.sent == ["begin"]
    assert writer._counters.shown() == {}


@pytest.mark.asyncio
async def test_a_state_that_fits_no_batch_is_an_error():
    """Rather than splitting a customer's state the worker stops and says which setting helps."""
    writer, producer = new_writer()

    with pytest.raises(StateTooLargeError, match=r"from b.a-0. on.*worker_round_bytes_max"):
        await writer.write(states(("a", [BATCH_BYTES_MAX // 2, BATCH_BYTES_MAX // 2])), Positions(1, 1))

    assert producer.sent == ["begin"]


@pytest.mark.parametrize("record", [OutRecord(b"k", b"v" * 5000, []), OutRecord(None, None, [("name", b"v" * 40)] * 5)])
def test_sizes_are_not_underestimated(record: OutRecord):
    """The estimate that keeps a batch within its limit is at least what the record takes."""
    batch = BatchBuilder(BATCH_BYTES_MAX, 0)
    before = batch.size()
    batch.append(timestamp=None, key=record.key, value=record.value, headers=record.headers)

    assert before + record.size() >= batch.size()

"""Reading a fetch by chunks: the same records, in the same places, as aiokafka's own reader gives."""

import gc
import weakref
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.stream.chunks import CHUNK_RECORDS, chunks_of

EVENTS_0 = TopicPartition(EVENTS_TOPIC, 0)
CONTROL_ATTRIBUTE = 0x20
LZ4 = 3


class Batch(NamedTuple):
    """A batch of a log."""

    records: int
    gap: int
    """Offsets before it that are not there any more."""
    producer: int
    """-1: it is in no transaction."""
    marker: int | None
    """0: the end of an aborted transaction, 1: of a committed one."""
    compression: int


BATCHES = st.builds(
    Batch,
    st.integers(1, 3 * CHUNK_RECORDS),
    st.integers(0, 3),
    st.sampled_from([-1, 7, 8]),
    st.sampled_from([None, None, None, 0, 1]),
    st.sampled_from([0, LZ4]),
)


def encoded(batch: Batch, offset: int) -> bytearray:
    """Return a batch's bytes."""
    control = batch.marker is not None and batch.producer >= 0
    compression = 0 if control else batch.compression
    builder = DefaultRecordBatchBuilder(2, compression, int(batch.producer >= 0), batch.producer, 0, 0, 1 << 20)
    for at in range(1 if control else batch.records):
        key = b"\0\0\0" + bytes([batch.marker]) if control else [None, b"", b"acme"][at % 3]
        headers = [("name", b"v"), ("empty", None)] if at % 4 == 0 else []
        builder.append(at, 1_700_000_000_000 + at, key, None if at % 5 == 0 else b"v" * (at % 7), headers)
    data = bytearray(builder.build())
    data[0:8] = offset.to_bytes(8, "big")
    if control:
        data[22] |= CONTROL_ATTRIBUTE
        data[17:21] = checksum(data)
    return data


def checksum(data: bytearray) -> bytes:
    return calc_crc32c(bytes(data[21:])).to_bytes(4, "big")


def log_of(batches: list[Batch]) -> bytes:
    offset, data = 0, bytearray()
    for batch in batches:
        offset += batch.gap
        data += encoded(batch, offset)
        offset += 1 if batch.marker is not None and batch.producer >= 0 else batch.records
    return bytes(data)


def reader(data: bytes, aborted: list[tuple[int, int]], offset: int = 0, isolation: int = READ_COMMITTED) -> Any:
    return PartitionRecords(EVENTS_0, MemoryRecords(data), aborted, offset, None, None, True, isolation)


def plainly(records: Any) -> Iterator[Record]:
    """Read as aiokafka does."""
    for row in records:
        yield Record(row.topic, row.partition, row.offset, row.timestamp, row.key, row.value, row.headers)


@given(
    st.lists(BATCHES, max_size=6),
    st.lists(st.tuples(st.sampled_from([7, 8]), st.integers(0, 200)), max_size=3),
    st.integers(0, 100),
    st.sampled_from([READ_COMMITTED, READ_UNCOMMITTED]),
)
def test_chunks_hold_what_aiokafka_reads(batches: list[Batch], aborted: list, offset: int, isolation: int):
    """Aborted transactions, markers, gaps, compression, a start inside a batch: the records and positions are the same."""
    data = log_of(batches)
    plain, fast = reader(data, aborted, offset, isolation), chunks_of(reader(data, aborted, offset, isolation))

    chunks = list(fast)

    assert list(chain(*chunks)) == list(plainly(plain))
    assert fast.next_fetch_offset == plain.next_fetch_offset
    assert all(0 < len(chunk) <= CHUNK_RECORDS for chunk in chunks)


def test_the_position_is_behind_the_last_chunk():
    """Who stops between two chunks goes on with the next record."""
    data = log_of([Batch(CHUNK_RECORDS + 5, 2, -1, None, 0)])
    chunks = chunks_of(reader(data, []))

    first = next(chunks)

    assert (first[0].offset, first[-1].offset + 1) == (2, chunks.next_fetch_offset)
    assert [record.offset for record in next(chunks)] == [CHUNK_RECORDS + 2 + at for at in range(5)]


def test_a_damaged_batch_is_not_read():
    """A wrong checksum is an error, before any record of the batch."""
    data = bytearray(log_of([Batch(3, 0, -1, None, 0)]))
    data[-1] ^= 1

    with pytest.raises(CorruptRecordException):
        next(chunks_of(reader(bytes(data), [])))


def test_what_was_fetched_is_freed_at_once():
    """No cycle of references holds megabytes until the collector comes, which is seldom."""
    records = reader(log_of([Batch(3, 0, -1, None, 0)]), [])
    gc.disable()
    try:
        chunks = chunks_of(records)
        gone = weakref.ref(records), weakref.ref(chunks)
        list(chunks)
        del records, chunks
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()

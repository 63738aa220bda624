"""What the tests of the embedded broker's files share."""

import time
from collections.abc import Iterator

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from pipeline.embedded.kafka.batches import Batch, check, read_header, records_of
from pipeline.embedded.kafka.index import AbortedReading
from pipeline.embedded.kafka.log import PartitionLog

NOW_MS = int(time.time() * 1000)
DAY_MS = 24 * 3600 * 1000

Record = tuple[int, bytes | None, bytes | None]


def batch(
    *records: tuple[bytes | None, bytes | None],
    producer: tuple[int, int, int] = (-1, -1, -1),
    time_ms: int = NOW_MS,
    transactional: bool = False,
    codec: int = 0,
) -> memoryview:
    """Return a batch of (key, value) records of one producer: (id, epoch, first sequence)."""
    builder = DefaultRecordBatchBuilder(2, codec, int(transactional), *producer, 1 << 20)
    for number, (key, value) in enumerate(records):
        builder.append(number, time_ms + number, key, value, [])
    return memoryview(bytes(builder.build()))


def append(log: PartitionLog, data: memoryview) -> int:
    return log.append(data, check(data))


def batches_of(data: bytes) -> Iterator[tuple[Batch, bytes]]:
    at = 0
    while (header := read_header(data, at)) is not None:
        yield header, data[at : at + header.size]
        at += header.size


def kept(log: PartitionLog, offset: int | None = None, *, committed: bool = False) -> list[Record]:
    """Return (offset, key, value) of what a reader gets from `offset` on, batch by batch, as clients read it."""
    found: list[Record] = []
    at = log.first_offset if offset is None else offset
    while (chunk := log.read(at, 1, committed=committed)).data:
        reading = AbortedReading(chunk.aborted)
        for header, raw in batches_of(chunk.data):
            if not reading.has(header) and not header.is_control:
                found += [(one.offset, one.key, one.value) for one in records_of(raw) if one.offset >= at]
            at = header.last_offset + 1
    return found

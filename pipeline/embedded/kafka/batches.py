"""Read Kafka record batches (format 2) without touching their records unless they are asked for."""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c

_HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = _HEADER.size
_PLACE = struct.Struct(">qiI")
_LENGTH_BEGINS = 12  # base offset and length themselves are not counted in the length
_CHECKED_FROM = 21
_TRANSACTIONAL, _CONTROL = 0x10, 0x20


class BatchError(ValueError):
    """A batch that the broker must not keep."""


class TooOldError(BatchError):
    """A batch of a format before 2 (Kafka 0.11)."""


class Batch(NamedTuple):
    """The header of one batch; `size` is its length in bytes with the header."""

    base_offset: int
    size: int
    record_count: int
    last_offset: int
    max_time_ms: int
    producer_id: int
    producer_epoch: int
    first_sequence: int


def read_header(data: memoryview, at: int) -> Batch | None:
    """Read the header of the batch at `at`; None when the batch is not there as a whole."""
    if at + HEADER_BYTES > len(data):
        return None
    (base, length, _, magic, _, _, delta, _, max_time, producer, epoch, sequence, count) = _HEADER.unpack_from(data, at)
    size = length + _LENGTH_BEGINS
    if magic != 2 or size < HEADER_BYTES or delta < 0 or at + size > len(data):
        return None
    return Batch(base, size, count, base + delta, max_time, producer, epoch, sequence)


def is_intact(data: memoryview) -> bool:
    """Tell whether the checksum of this one batch is right."""
    (crc,) = struct.unpack_from(">I", data, 17)
    return bool(calc_crc32c(bytes(data[_CHECKED_FROM:])) == crc)


def check(records: memoryview) -> Batch:
    """Return the header of a batch that a producer sent.

    Raises:
        TooOldError: it has an old format.
        BatchError: it is cut, damaged, transactional, or more than one.

    """
    if len(records) > 16 and records[16] < 2:
        raise TooOldError(f"record format {records[16]} is not supported")
    header = read_header(records, 0)
    if (
        header is None
        or header.size != len(records)
        or header.record_count != header.last_offset - header.base_offset + 1
    ):
        raise BatchError("not exactly one whole record batch")
    if not is_intact(records):
        raise BatchError("the checksum is wrong")
    (attributes,) = struct.unpack_from(">h", records, _CHECKED_FROM)
    if attributes & (_TRANSACTIONAL | _CONTROL):
        raise BatchError("transactions are not supported")
    return header


def place(records: memoryview, base_offset: int) -> bytearray:
    """Return the batch with its offset in the log (which its checksum does not cover)."""
    placed = bytearray(records)
    length = len(placed) - _LENGTH_BEGINS
    _PLACE.pack_into(placed, 0, base_offset, length, 0)
    return placed


def records_of(batch: bytes) -> Iterator[Any]:
    """Yield the records of one batch: objects with `offset`, `timestamp`, `key`, `value`."""
    return iter(DefaultRecordBatch(batch))

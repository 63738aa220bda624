"""Read Kafka record batches (format 2) without touching their records unless they are asked for."""

import struct
from typing import Any, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c

_HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = _HEADER.size
_PLACE = struct.Struct(">qiI")
_LENGTH_BEGINS = 12  # base offset and length themselves are not counted in the length
_CRC_AT = 17
_CHECKED_FROM = 21
_CODEC, _TRANSACTIONAL, _CONTROL = 0x07, 0x10, 0x20
_SEQUENCES = 1 << 31
_MARKER_TYPE_AT = HEADER_BYTES + 7
"""Where the type of a marker is: after the record's length, attributes, deltas, the key's length and version."""
_NO_SEQUENCE = -1


class BatchError(ValueError):
    """A batch that the broker must not keep."""


class UnreadableError(BatchError):
    """A batch whose records cannot be read here."""


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
    attributes: int

    @property
    def is_transactional(self) -> bool:
        """Whether it belongs to a transaction, as data or as its marker."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether it is a marker that the broker wrote, not data."""
        return bool(self.attributes & _CONTROL)

    @property
    def last_sequence(self) -> int:
        """The sequence number of its last record, also when compaction has taken that away."""
        return (self.first_sequence + self.last_offset - self.base_offset) % _SEQUENCES


def read_header(data: bytes | memoryview, at: int) -> Batch | None:
    """Read the header of the batch at `at`; None when the batch is not there as a whole."""
    if at + HEADER_BYTES > len(data):
        return None
    (base, length, _, magic, _, attributes, delta, _, max_time, producer, epoch, sequence, count) = _HEADER.unpack_from(
        data, at
    )
    size = length + _LENGTH_BEGINS
    if magic != 2 or size < HEADER_BYTES or delta < 0 or at + size > len(data):
        return None
    return Batch(base, size, count, base + delta, max_time, producer, epoch, sequence, attributes)


def is_intact(data: bytes | memoryview) -> bool:
    """Tell whether the checksum of this one batch is right."""
    (crc,) = struct.unpack_from(">I", data, _CRC_AT)
    return bool(calc_crc32c(bytes(data[_CHECKED_FROM:])) == crc)


def check(records: memoryview) -> Batch:
    """Return the header of a batch that a producer sent.

    Raises:
        TooOldError: it has an old format.
        BatchError: it is cut, damaged, a marker, or more than one.

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
    if header.is_control:
        raise BatchError("only the broker writes markers")
    return header


def place(records: memoryview, base_offset: int) -> bytearray:
    """Return the batch with its offset in the log (which its checksum does not cover)."""
    placed = bytearray(records)
    length = len(placed) - _LENGTH_BEGINS
    _PLACE.pack_into(placed, 0, base_offset, length, 0)
    return placed


def marker(producer_id: int, epoch: int, *, commit: bool, time_ms: int) -> memoryview:
    """Return the control batch that ends a transaction in a partition."""
    record = b"\x20\x00\x00\x00\x08" + struct.pack(">hh", 0, commit) + b"\x0c" + struct.pack(">hi", 0, 0) + b"\x00"
    batch = bytearray(HEADER_BYTES) + record
    length = len(batch) - _LENGTH_BEGINS
    attributes = _TRANSACTIONAL | _CONTROL
    _HEADER.pack_into(
        batch, 0, 0, length, 0, 2, 0, attributes, 0, time_ms, time_ms, producer_id, epoch, _NO_SEQUENCE, 1
    )
    seal(batch)
    return memoryview(batch)


def is_abort(marker: bytes | memoryview) -> bool:
    """Tell whether this control batch ends a transaction by aborting it."""
    return int.from_bytes(marker[_MARKER_TYPE_AT : _MARKER_TYPE_AT + 2]) == 0


def seal(batch: bytearray) -> None:
    """Write the checksum of a batch that is complete but for that."""
    struct.pack_into(">I", batch, _CRC_AT, calc_crc32c(bytes(batch[_CHECKED_FROM:])))


def headed(body: bytearray, original: Batch) -> bytes:
    """Return the built batch `body` with the offsets, producer, sequence and newest time of the one it was taken from."""
    (_, length, _, _, _, attributes, _, first_time, *_, count) = _HEADER.unpack_from(body, 0)
    base, delta = original.base_offset, original.last_offset - original.base_offset
    attributes |= original.attributes & ~_CODEC
    producer = (original.producer_id, original.producer_epoch, original.first_sequence)
    times = (first_time, original.max_time_ms)
    _HEADER.pack_into(body, 0, base, length, 0, 2, 0, attributes, delta, *times, *producer, count)
    seal(body)
    return bytes(body)


def codec_of(batch: Batch) -> int:
    """Return the number of the codec that its records are compressed with; 0: none."""
    return batch.attributes & _CODEC


def records_of(batch: bytes) -> list[Any]:
    """Return the records of one batch: objects with `offset`, `timestamp`, `key`, `value`, `headers`.

    Raises:
        UnreadableError: this machine cannot decompress it, or its producer had not made it of records.

    """
    try:
        return list(DefaultRecordBatch(batch))
    except Exception as failure:  # the libraries of the codecs raise what they like
        raise UnreadableError(f"a batch cannot be read: {failure!r}") from failure

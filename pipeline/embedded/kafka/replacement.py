"""Write the file that will take the place of a partition's: kept batches in their order, and the index that goes with them."""

import os
from pathlib import Path

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from pipeline.embedded.kafka.batches import Batch, codec_of, headed, is_abort, read_header, records_of
from pipeline.embedded.kafka.index import Index

_BUFFER_BYTES = 1 << 20
_BATCH_BYTES_MAX = 1 << 30


class Replacement:
    """A file beside the partition's own; it counts from the moment it is installed."""

    def __init__(self, path: Path) -> None:
        """Begin an empty file for the partition at `path`; one that a crash has left there is overwritten."""
        self.index = Index()
        self._path = path.with_suffix(".cleaned")
        self._buffer = bytearray()
        self.file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)

    def add(self, data: bytes) -> None:
        """Append a batch as it is."""
        batch = read_header(data, 0)
        assert batch is not None
        self._buffer += data
        self.index.add(batch, aborts=batch.is_control and is_abort(data))
        if len(self._buffer) > _BUFFER_BYTES:
            self.write_out()

    def write_out(self) -> None:
        """Hand what was added to the operating system.

        Raises:
            OSError: the disk is full.

        """
        if os.write(self.file, self._buffer) != len(self._buffer):
            raise OSError("the disk is full")
        self._buffer.clear()

    def install(self, path: Path) -> None:
        """Take the place of the partition's file."""
        self.write_out()
        self._path.replace(path)

    def discard(self) -> None:
        """Give it up."""
        os.close(self.file)
        self._path.unlink(missing_ok=True)


def with_records(raw: bytes, batch: Batch, offsets: set[int]) -> bytes:
    """Return a batch with only the records at `offsets`, perhaps none; its offsets, producer and sequence stay the same.

    Raises:
        UnreadableError: its records cannot be read here.

    """
    builder = DefaultRecordBatchBuilder(2, codec_of(batch) if offsets else 0, 0, -1, -1, -1, _BATCH_BYTES_MAX)
    for record in records_of(raw) if offsets else ():
        if record.offset in offsets:
            delta = record.offset - batch.base_offset
            builder.append(delta, record.timestamp, record.key, record.value, list(record.headers))
    return headed(builder.build(), batch)

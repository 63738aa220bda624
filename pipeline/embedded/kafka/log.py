"""Keep one partition: an append-only file of record batches, with its index in memory.

A batch is handed to the operating system before it is acknowledged, so that it outlives the death of this process, as
with Apache Kafka; like there, only the death of the machine can lose what was not flushed yet.
"""

import asyncio
import mmap
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.embedded.kafka.batches import (
    Batch,
    UnreadableError,
    is_abort,
    is_intact,
    marker,
    place,
    read_header,
    records_of,
)
from pipeline.embedded.kafka.index import Aborted, Index
from pipeline.embedded.kafka.replacement import Replacement

_COPIED_BYTES = 1 << 20


class Chunk(NamedTuple):
    """Whole batches that were read, and the transactions aborted among them."""

    data: bytes
    aborted: list[Aborted]


class ClosedError(Exception):
    """The log was closed, because its topic was deleted."""


class PartitionLog:
    """One partition's records."""

    def __init__(self, path: Path) -> None:
        """Open the file, which is made when it is not there; a batch cut by a crash at its end is taken off."""
        self._path = path
        self._waiting: set[asyncio.Future[None]] = set()
        self._waiting_stable: set[asyncio.Future[None]] = set()
        self.closed = False
        path.with_suffix(".cleaned").unlink(missing_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._index = Index()
        self._recover()

    @property
    def first_offset(self) -> int:
        """The offset of the oldest record kept."""
        return self._index.first_offset

    @property
    def end_offset(self) -> int:
        """The offset that the next record will get."""
        return self._index.end_offset

    @property
    def stable_offset(self) -> int:
        """The last stable offset: every transaction below it is ended."""
        return self._index.stable_offset

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return self._index.size_bytes

    def append(self, records: memoryview, batch: Batch) -> int:
        """Append one checked batch and return the offset of its first record; a repeated one is kept once.

        Raises:
            SequenceError: its producer left a gap or sends something old.
            FencedError: its producer's epoch is over.

        """
        earlier = self._index.producers.earlier(batch)
        return self._write(records, batch) if earlier is None else earlier

    def open_transactions(self) -> list[tuple[int, int]]:
        """Return producer id and epoch of each transaction that has records here and is not ended."""
        return [(producer_id, self._index.producers.epoch(producer_id)) for producer_id in self._index.open]

    def end_transaction(self, producer_id: int, epoch: int, *, commit: bool) -> None:
        """Append the marker that ends a producer's transaction here."""
        records = marker(producer_id, epoch, commit=commit, time_ms=time.time_ns() // 1_000_000)
        batch = read_header(records, 0)
        assert batch is not None
        self._write(records, batch, aborts=not commit)

    def read(self, offset: int, bytes_max: int, *, committed: bool = False) -> Chunk:
        """Return whole batches from the one that holds `offset`, up to `bytes_max`, but at least one.

        With `committed`: only what is below the last stable offset, and the aborted transactions to leave out.
        """
        index = self._index
        batches = index.batches_within(offset, index.stable_offset if committed else index.end_offset, bytes_max)
        if not batches:
            return Chunk(b"", [])
        start = index.positions[batches[0]]
        data = os.pread(self._file, index.end_of(batches[-1]) - start, start)
        if not committed or not index.aborted:
            return Chunk(data, [])
        return Chunk(data, index.aborted_within(offset, index.lasts[batches[-1]] + 1))

    def bytes_from(self, offset: int, *, committed: bool = False) -> int:
        """Return how many bytes there are to read from `offset`."""
        index = self._index
        return index.bytes_within(offset, index.stable_offset if committed else index.end_offset)

    def offset_at(self, time_ms: int) -> tuple[int, int] | None:
        """Return offset and time of the first record at or after `time_ms`; None when there is none."""
        for number, newest in enumerate(self._index.times):
            if newest >= time_ms and (found := self._first_at(number, time_ms)) is not None:
                return found
        return None

    def next_append(self, *, committed: bool = False) -> asyncio.Future[None]:
        """Return a future that is done when there is more to read; cancel it when it is not wanted any more."""
        future = asyncio.get_running_loop().create_future()
        waiting = self._waiting_stable if committed else self._waiting
        waiting.add(future)
        future.add_done_callback(waiting.discard)
        return future

    def aborted(self) -> list[Aborted]:
        """Return the transactions that were aborted."""
        return self._index.aborted

    def cleanable_bytes(self) -> int:
        """Return how much of the file may be cleaned: what is below the last stable offset, without the last batch."""
        return self._index.cleanable_bytes

    def bytes_before(self, time_ms: int) -> int:
        """Return how much of the file's beginning has nothing but batches older than `time_ms`."""
        index = self._index
        first = next((number for number, newest in enumerate(index.times) if newest >= time_ms), len(index.times))
        return index.positions[first] if first < len(index.times) else index.size_bytes

    def stored(self, begin: int, end: int) -> Iterator[tuple[Batch, bytes]]:
        """Yield the batches that lie between two positions of the file, where batches begin.

        Raises:
            ClosedError: the log was closed meanwhile.

        """
        while begin < end:
            if self.closed:
                raise ClosedError
            after = min(end, self._index.position_after(begin, _COPIED_BYTES))
            data, at = os.pread(self._file, after - begin, begin), 0
            while (batch := read_header(data, at)) is not None:
                yield batch, data[at : at + batch.size]
                at += batch.size
            begin = after

    def begin_replacement(self) -> Replacement:
        """Return an empty file that can take the place of this log's."""
        return Replacement(self._path)

    async def replace(self, replacement: Replacement, end: int) -> None:
        """Take a replacement of what was before the position `end`, and what came after it meanwhile.

        Raises:
            ClosedError: the log was closed meanwhile.
            OSError: the disk is full; the log stays as it is.

        """
        while self.size_bytes - end > _COPIED_BYTES:
            after = self._index.position_after(end, _COPIED_BYTES)
            self._copy(end, after, replacement)
            await asyncio.sleep(0)
            end = after
        await asyncio.to_thread(os.fsync, replacement.file)
        if self.closed:
            raise ClosedError
        self._copy(end, self.size_bytes, replacement)
        replacement.install(self._path)
        os.close(self._file)
        replacement.index.producers = self._index.producers  # it knows all their last batches
        self._file, self._index = replacement.file, replacement.index

    def close(self) -> None:
        """Flush to the disk and close."""
        self.closed = True
        os.fsync(self._file)
        os.close(self._file)

    def _write(self, records: memoryview, batch: Batch, *, aborts: bool = False) -> int:
        index = self._index
        base, stable = index.end_offset, index.stable_offset
        data = place(records, base)
        if os.write(self._file, data) != len(data):
            os.ftruncate(self._file, index.size_bytes)
            raise OSError("the disk is full")
        index.add(batch._replace(base_offset=base, last_offset=base + batch.record_count - 1), aborts=aborts)
        _wake(self._waiting)
        if index.stable_offset != stable:
            _wake(self._waiting_stable)
        return base

    def _copy(self, begin: int, end: int, replacement: Replacement) -> None:
        for _, raw in self.stored(begin, end):
            replacement.add(raw)

    def _first_at(self, number: int, time_ms: int) -> tuple[int, int] | None:
        start = self._index.positions[number]
        data = os.pread(self._file, self._index.end_of(number) - start, start)
        try:
            for record in records_of(data):
                if record.timestamp >= time_ms:
                    return record.offset, record.timestamp
        except UnreadableError:  # its batch is close enough
            return self._index.bases[number], self._index.times[number]
        return None  # compaction has taken it

    def _recover(self) -> None:
        size = os.fstat(self._file).st_size
        if size == 0:
            return
        index = self._index
        with mmap.mmap(self._file, size, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            while (batch := read_header(data, index.size_bytes)) is not None:
                start, end = index.size_bytes, index.size_bytes + batch.size
                if read_header(data, end) is None and not is_intact(data[start:end]):
                    break  # the last one, cut by a crash
                index.add(batch, aborts=batch.is_control and is_abort(data[start:end]))
        os.ftruncate(self._file, index.size_bytes)


def _wake(waiting: Iterable[asyncio.Future[None]]) -> None:
    for future in tuple(waiting):
        if not future.done():
            future.set_result(None)

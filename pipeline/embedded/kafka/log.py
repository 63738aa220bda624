"""Keep one partition: an append-only file of record batches, its index in memory, and its idempotent producers.

A batch is handed to the operating system before it is acknowledged, so that it outlives the death of this process, as
with Apache Kafka; like there, only the death of the machine can lose what was not flushed yet.
"""

import asyncio
import mmap
import os
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aiokafka.errors import UnsupportedCodecError

from pipeline.embedded.kafka.batches import Batch, is_intact, place, read_header, records_of

_BATCHES_REMEMBERED = 5
_SEQUENCES = 1 << 31
_NO_PRODUCER = -1


class SequenceError(ValueError):
    """A batch of an idempotent producer that does not follow its last one."""


class FencedError(ValueError):
    """A batch of an idempotent producer that a newer epoch has replaced."""


class _Sent(NamedTuple):
    first_sequence: int
    last_sequence: int
    base_offset: int


class _Producer:
    """The last batches of one idempotent producer in one partition."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.sent: deque[_Sent] = deque(maxlen=_BATCHES_REMEMBERED)


class PartitionLog:
    """One partition's records."""

    def __init__(self, path: Path) -> None:
        """Open the file, which is made when it is not there; a batch cut by a crash at its end is taken off."""
        self._path = path
        self._waiting: set[asyncio.Future[None]] = set()
        self._open()

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._bases, self._lasts, self._times, self._positions = (array("q") for _ in range(4))
        self.size_bytes = 0
        self._producers: dict[int, _Producer] = {}
        self._recover()
        self.size_bytes_when_opened = self.size_bytes

    @property
    def first_offset(self) -> int:
        """The offset of the oldest record kept."""
        return self._bases[0] if self._bases else 0

    @property
    def end_offset(self) -> int:
        """The offset that the next record will get."""
        return self._lasts[-1] + 1 if self._lasts else 0

    def append(self, records: memoryview, batch: Batch) -> int:
        """Append one checked batch and return the offset of its first record; a repeated one is kept once.

        Raises:
            SequenceError: its producer left a gap or sends something old.
            FencedError: its producer's epoch is over.

        """
        earlier = self._earlier(batch)
        if earlier is not None:
            return earlier
        base = self.end_offset
        data = place(records, base)
        if os.write(self._file, data) != len(data):
            os.ftruncate(self._file, self.size_bytes)
            raise OSError("the disk is full")
        self._index(batch._replace(base_offset=base, last_offset=base + batch.record_count - 1))
        self._wake()
        return base

    def read(self, offset: int, bytes_max: int) -> bytes:
        """Return whole batches from the one that holds `offset`, up to `bytes_max`, but at least one."""
        first = bisect_left(self._lasts, offset)
        if first == len(self._lasts):
            return b""
        start = self._positions[first]
        after = bisect_left(self._positions, start + bytes_max + 1)
        end = self._end_of(after - 1)
        if end - start > bytes_max and after - 1 > first:
            end = self._positions[after - 1]
        return os.pread(self._file, end - start, start)

    def bytes_from(self, offset: int) -> int:
        """Return how many bytes there are to read from `offset`."""
        first = bisect_left(self._lasts, offset)
        return 0 if first == len(self._lasts) else self.size_bytes - self._positions[first]

    def offset_at(self, time_ms: int) -> tuple[int, int] | None:
        """Return offset and time of the first record at or after `time_ms`; None when there is none."""
        for number, newest in enumerate(self._times):
            if newest >= time_ms:
                return self._first_at(number, time_ms)
        return None

    def next_append(self) -> asyncio.Future[None]:
        """Return a future that is done when something is appended; cancel it when it is not wanted any more."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return future

    def rewrite(self, change: Callable[[Path], None]) -> None:
        """Let `change` alter the file, and open it again; offsets and readers are not disturbed."""
        self.close()
        try:
            change(self._path)
        finally:
            self._open()

    def close(self) -> None:
        """Flush to the disk and close."""
        os.fsync(self._file)
        os.close(self._file)

    def _first_at(self, number: int, time_ms: int) -> tuple[int, int]:
        start = self._positions[number]
        data = os.pread(self._file, self._end_of(number) - start, start)
        try:
            for record in records_of(data):
                if record.timestamp >= time_ms:
                    return record.offset, record.timestamp
        except UnsupportedCodecError:  # compressed in a way that this machine cannot read: its batch is close enough
            pass
        return self._bases[number], self._times[number]

    def _end_of(self, number: int) -> int:
        return self._positions[number + 1] if number + 1 < len(self._positions) else self.size_bytes

    def _earlier(self, batch: Batch) -> int | None:
        """Return where a repeated batch of an idempotent producer is; None when it is new."""
        producer = self._producers.get(batch.producer_id)
        if batch.producer_id == _NO_PRODUCER or producer is None or not producer.sent:
            return None
        if batch.producer_epoch < producer.epoch:
            raise FencedError(f"epoch {batch.producer_epoch} of producer {batch.producer_id} is over")
        last = (batch.first_sequence + batch.record_count - 1) % _SEQUENCES
        if batch.producer_epoch == producer.epoch:
            for sent in producer.sent:
                if (sent.first_sequence, sent.last_sequence) == (batch.first_sequence, last):
                    return sent.base_offset
        expected = (producer.sent[-1].last_sequence + 1) % _SEQUENCES if batch.producer_epoch == producer.epoch else 0
        if batch.first_sequence != expected:
            raise SequenceError(f"producer {batch.producer_id} sent {batch.first_sequence}, not {expected}")
        return None

    def _index(self, batch: Batch) -> None:
        self._bases.append(batch.base_offset)
        self._lasts.append(batch.last_offset)
        self._times.append(batch.max_time_ms)
        self._positions.append(self.size_bytes)
        self.size_bytes += batch.size
        if batch.producer_id == _NO_PRODUCER:
            return
        producer = self._producers.get(batch.producer_id)
        if producer is None or producer.epoch != batch.producer_epoch:
            producer = self._producers[batch.producer_id] = _Producer(batch.producer_epoch)
        last = (batch.first_sequence + batch.record_count - 1) % _SEQUENCES
        producer.sent.append(_Sent(batch.first_sequence, last, batch.base_offset))

    def _recover(self) -> None:
        size = os.fstat(self._file).st_size
        if size == 0:
            return
        with mmap.mmap(self._file, size, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            while (batch := read_header(data, self.size_bytes)) is not None:
                end = self.size_bytes + batch.size
                if read_header(data, end) is None and not is_intact(data[self.size_bytes : end]):
                    break  # the last one, cut by a crash
                self._index(batch)
        os.ftruncate(self._file, self.size_bytes)

    def _wake(self) -> None:
        for future in tuple(self._waiting):
            if not future.done():
                future.set_result(None)

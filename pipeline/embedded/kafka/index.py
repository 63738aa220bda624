"""Know what is where in one partition's file, and how far its transactions have come; all of it in memory."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from pipeline.embedded.kafka.batches import Batch
from pipeline.embedded.kafka.producers import Producers


class Aborted(NamedTuple):
    """A transaction that was aborted: its first record in this partition, and its marker."""

    producer_id: int
    first_offset: int
    marker_offset: int


class Index:
    """The batches of one file, in their order; 32 bytes each."""

    def __init__(self) -> None:
        """Begin with an empty file."""
        self.bases, self.lasts, self.times, self.positions = (array("q") for _ in range(4))
        self.size_bytes = 0
        self.producers = Producers()
        self.open: dict[int, int] = {}
        """The first offset of each open transaction, by producer id; the oldest stands first."""
        self.aborted: list[Aborted] = []

    @property
    def first_offset(self) -> int:
        """The offset of the oldest record kept."""
        return self.bases[0] if self.bases else 0

    @property
    def end_offset(self) -> int:
        """The offset that the next record will get."""
        return self.lasts[-1] + 1 if self.lasts else 0

    @property
    def stable_offset(self) -> int:
        """The last stable offset: every transaction below it is ended."""
        return next(iter(self.open.values())) if self.open else self.end_offset

    def add(self, batch: Batch, *, aborts: bool = False) -> None:
        """Take a batch that is at the end of the file; `aborts` when it is the marker of an aborted transaction."""
        self.bases.append(batch.base_offset)
        self.lasts.append(batch.last_offset)
        self.times.append(batch.max_time_ms)
        self.positions.append(self.size_bytes)
        self.size_bytes += batch.size
        self.producers.note(batch)
        if not batch.is_transactional:
            return
        if not batch.is_control:
            self.open.setdefault(batch.producer_id, batch.base_offset)
            return
        first = self.open.pop(batch.producer_id, None)
        if aborts and first is not None:
            self.aborted.append(Aborted(batch.producer_id, first, batch.base_offset))

    @property
    def cleanable_bytes(self) -> int:
        """How much of the file cleaning may change: what is below the last stable offset, without the last batch."""
        limit = min(bisect_left(self.bases, self.stable_offset), len(self.bases) - 1)
        return self.positions[limit] if limit > 0 else 0

    def end_of(self, number: int) -> int:
        """Return where batch `number` ends in the file."""
        return self.positions[number + 1] if number + 1 < len(self.positions) else self.size_bytes

    def position_after(self, position: int, size: int) -> int:
        """Return where the batch ends that has the byte `size` after `position`, or where the file ends."""
        return self.end_of(bisect_left(self.positions, position + size) - 1)

    def batches_within(self, offset: int, before: int, bytes_max: int) -> range:
        """Return the batches from the one that holds `offset`, below the offset `before`, up to `bytes_max`, but at least one."""
        first, limit = bisect_left(self.lasts, offset), bisect_left(self.bases, before)
        if first >= limit:
            return range(0)
        start = self.positions[first]
        after = min(limit, bisect_left(self.positions, start + bytes_max + 1))
        if self.end_of(after - 1) - start > bytes_max and after - 1 > first:
            after -= 1
        return range(first, after)

    def bytes_within(self, offset: int, before: int) -> int:
        """Return how many bytes there are to read from `offset`, below the offset `before`."""
        first, limit = bisect_left(self.lasts, offset), bisect_left(self.bases, before)
        return self.end_of(limit - 1) - self.positions[first] if first < limit else 0

    def aborted_within(self, offset: int, before: int) -> list[Aborted]:
        """Return the aborted transactions that have something at or after `offset` and below `before`."""
        first = bisect_left(self.aborted, offset, key=lambda one: one.marker_offset)
        return [one for one in self.aborted[first:] if one.first_offset < before]


class AbortedReading:
    """Tells of each batch, when they are passed by in their order, whether it is data of an aborted transaction."""

    def __init__(self, aborted: Iterable[Aborted]) -> None:
        """Begin before the first of these transactions."""
        self._ahead = sorted(aborted, key=lambda one: one.first_offset, reverse=True)
        self._within: set[int] = set()

    def has(self, batch: Batch) -> bool:
        """Go on to this batch."""
        while self._ahead and self._ahead[-1].first_offset <= batch.base_offset:
            self._within.add(self._ahead.pop().producer_id)
        if batch.is_control:
            self._within.discard(batch.producer_id)
            return False
        return batch.is_transactional and batch.producer_id in self._within

"""Digests that are only ever added: kept in segments, so that an addition never writes all of them again."""

from collections.abc import Iterator

SEGMENT_BYTES_MAX = 2048
"""A segment that has reached this size is closed; a larger one comes about when one round adds more at once."""


class SegmentLog:
    """Packed entries in numbered segments, of which only the last is open: still added to."""

    __slots__ = ("_newest_ms", "_number", "_open")

    def __init__(self) -> None:
        self._open = bytearray()
        self._number = 0
        self._newest_ms: dict[int, int] = {}

    def add(self, entry: bytes, at_ms: int) -> None:
        """Add an entry; `at_ms` decides when its segment expires."""
        self._open += entry
        self._newest_ms[self._number] = max(at_ms, self._newest_ms.get(self._number, at_ms))

    def restore(self, number: int, content: bytes, newest_ms: int) -> None:
        """Take back a segment; in the order of the numbers. The last one is open again, if there is room in it."""
        self._newest_ms[number] = newest_ms
        has_room = len(content) < SEGMENT_BYTES_MAX
        self._open = bytearray(content if has_room else b"")
        self._number = number if has_room else number + 1

    def take_closed(self) -> Iterator[tuple[int, bytes]]:
        """Close the open segment if it is full, and yield its number and content."""
        if len(self._open) >= SEGMENT_BYTES_MAX:
            yield self._number, bytes(self._open)
            self._open = bytearray()
            self._number += 1

    def still_open(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number and content of the open segment, if it holds anything."""
        if self._open:
            yield self._number, bytes(self._open)

    def take_expired(self, horizon_ms: int) -> Iterator[int]:
        """Forget the segments whose entries are all older than the horizon, and yield the numbers of closed ones."""
        for number in [number for number, newest_ms in self._newest_ms.items() if newest_ms < horizon_ms]:
            del self._newest_ms[number]
            if number == self._number:
                self._open = bytearray()
            else:
                yield number

"""Digests that are only ever added: written in segments, so that an addition never writes all of them again."""

from collections.abc import Iterator

SEGMENT_BYTES_MAX = 4096
"""A segment that has reached this size is closed; a larger one comes about when one round adds more at once."""


class SegmentLog:
    """Packed entries in numbered segments, of which only the last is still added to."""

    __slots__ = ("_changed", "_newest_ms", "_number", "_open")

    def __init__(self) -> None:
        self._open = bytearray()
        self._number = 0
        self._changed = False
        self._newest_ms: dict[int, int] = {}

    def add(self, entry: bytes, at_ms: int) -> None:
        """Add an entry; `at_ms` decides when its segment expires."""
        self._open += entry
        self._changed = True
        self._newest_ms[self._number] = max(at_ms, self._newest_ms.get(self._number, at_ms))

    def restore(self, number: int, newest_ms: int) -> None:
        """Take back that a segment exists; what follows goes into a new one."""
        self._newest_ms[number] = newest_ms
        self._number = max(self._number, number + 1)

    def take_changed(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number and content of the segment that changed since the last call, if one did."""
        if not self._changed:
            return
        self._changed = False
        yield self._number, bytes(self._open)
        if len(self._open) >= SEGMENT_BYTES_MAX:
            self._open = bytearray()
            self._number += 1

    def take_expired(self, horizon_ms: int) -> Iterator[int]:
        """Yield, and forget, the numbers of the segments whose entries are all older than the horizon."""
        for number in [number for number, newest_ms in self._newest_ms.items() if newest_ms < horizon_ms]:
            del self._newest_ms[number]
            if number == self._number:
                self._open = bytearray()
                self._changed = False
                self._number += 1
            yield number

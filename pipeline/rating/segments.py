"""The segments in which a table of digests is written: so that an addition never writes all of them again."""

from collections.abc import Callable, Iterator

from pipeline.domain.digests import DigestTable


class SegmentLog:
    """Numbers the segments of a table, and knows which of the closed ones are expired."""

    __slots__ = ("_closed", "_stamp_of", "number", "size", "table")

    def __init__(self, size: int, stamp_of: Callable[[bytes], int] | None = None) -> None:
        self.size = size
        """Bytes of an entry."""
        self.number = 0
        """Of the open segment."""
        self.table: DigestTable | None = None
        """What the segments hold; another one when all of it was forgotten."""
        self._stamp_of = stamp_of
        """What of an entry never falls from one to the next, and decides when a segment is expired."""
        self._closed: list[tuple[int, int]] = []
        """Number, and stamp of the last entry."""

    def take_closed(self, table: DigestTable) -> Iterator[tuple[int, bytes]]:
        """Yield what was closed since the last call as one segment, with its number."""
        if table.closed:
            content = b"".join(table.closed)
            table.closed.clear()
            self._note_closed(self.number, content)
            yield self.number, content
            self.number += 1

    def restore_closed(self, number: int, content: bytes) -> None:
        """Take back a closed segment, in the order of the numbers."""
        self._note_closed(number, content)
        self.number = number + 1

    def take_expired(self, horizon: int) -> list[int]:
        """Forget the closed segments whose entries all have smaller stamps, and return their numbers."""
        expired = [number for number, stamp in self._closed if stamp < horizon]
        self._closed = self._closed[len(expired) :]
        return expired

    def take_all(self) -> list[int]:
        """Forget all closed segments and return their numbers."""
        numbers = [number for number, _ in self._closed]
        self._closed = []
        return numbers

    def _note_closed(self, number: int, content: bytes) -> None:
        self._closed.append((number, self._stamp_of(content[-self.size :]) if self._stamp_of else 0))

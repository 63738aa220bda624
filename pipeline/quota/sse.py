"""Server-sent events, read from the bytes of a stream (WHATWG HTML, 9.2), within a limit."""

from collections.abc import Iterator
from typing import NamedTuple

EVENT_BYTES_MAX = 16 << 20
_LINE_END = b"\n"


class ServerEvent(NamedTuple):
    """One event: its name, "message" when it has none, and its data."""

    name: str
    data: bytes


class EventParser:
    """Takes a stream in pieces and returns the events that are complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._name = ""

    def feed(self, piece: bytes) -> Iterator[ServerEvent]:
        """Yield the events that a piece completes. Raises ValueError when one is too long."""
        *lines, self._rest = (self._rest + piece).split(_LINE_END)
        for line in lines:
            yield from self._take(line.removesuffix(b"\r"))
        if self._size + len(self._rest) > EVENT_BYTES_MAX:
            raise ValueError(f"an event of the stream has more than {EVENT_BYTES_MAX} bytes")

    def _take(self, line: bytes) -> Iterator[ServerEvent]:
        if not line:
            if self._data:
                yield ServerEvent(self._name or "message", b"\n".join(self._data))
            self._data, self._size, self._name = [], 0, ""
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value)
        elif field == b"event":
            self._name = value.decode(errors="replace")

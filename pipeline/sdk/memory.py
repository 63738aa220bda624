"""The events that wait in memory, bounded in number and bytes."""

from collections import deque


class Memory:
    """First in, first out. Its owner guards it with a lock."""

    def __init__(self, *, events_max: int, bytes_max: int) -> None:
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._events: deque[bytes] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: bytes) -> bool:
        """Add an event; return False when there is no room."""
        if len(self._events) >= self._events_max or self.bytes + len(event) > self._bytes_max:
            return False
        self._events.append(event)
        self.bytes += len(event)
        return True

    def take(self, *, events_max: int, bytes_max: int) -> list[bytes]:
        """Remove and return the first events that fit into a batch, at least one when there is one."""
        taken: list[bytes] = []
        size = 0
        while self._events and len(taken) < events_max:
            size += len(self._events[0]) + 1
            if taken and size > bytes_max:
                break
            taken.append(self._events.popleft())
            self.bytes -= len(taken[-1])
        return taken

    def put_back(self, events: list[bytes]) -> None:
        """Put events that were taken in front again, whether there is room or not."""
        self._events.extendleft(reversed(events))
        self.bytes += sum(map(len, events))

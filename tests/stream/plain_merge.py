"""The merge, record by record: what `pipeline.stream.merge` does by runs, written as plainly as can be."""

from collections.abc import Sequence

from pipeline.domain.records import Record
from pipeline.stream.merge import Ends


class PlainSide:
    """Records with the time at which each came."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.waiting: list[tuple[Record, float]] = []
        self.arrived_at_s = float("-inf")

    def add(self, records: Sequence[Record], position: int, now_s: float) -> None:
        self.position = position
        self.waiting += [(record, now_s) for record in records]
        if records:
            self.arrived_at_s = now_s

    def next_offset(self) -> int:
        return self.waiting[0][0].offset if self.waiting else self.position

    def bytes(self) -> int:
        return sum(len(record.value or b"") for record, _ in self.waiting)


class PlainMerge:
    """The rules that stand at the top of `pipeline.stream.merge`, asked anew for each record."""

    def __init__(self, wait_s: float, hold_s: float) -> None:
        self.events = PlainSide(0)
        self.grants = PlainSide(0)
        self._wait_s = wait_s
        self._hold_s = hold_s

    def take(self, ends: Ends | None, count_max: int, bytes_max: int) -> list[Record]:
        taken: list[Record] = []
        while len(taken) < count_max and sum(len(record.value or b"") for record in taken) < bytes_max:
            side = self._next_side(ends)
            if side is None:
                break
            taken.append(side.waiting.pop(0)[0])
        return taken

    def _next_side(self, ends: Ends | None) -> PlainSide | None:
        events, grants = self.events, self.grants
        if events.waiting and grants.waiting:
            return grants if grants.waiting[0][0].timestamp_ms <= events.waiting[0][0].timestamp_ms else events
        if ends is None:
            return None
        if events.waiting:
            due_s = events.waiting[0][1] + self._wait_s
            return events if grants.position >= ends.grants and ends.asked_at_s >= due_s else None
        if grants.waiting:
            due_s = max(grants.waiting[0][1], events.arrived_at_s) + self._hold_s
            return grants if events.position >= ends.events and ends.asked_at_s >= due_s else None
        return None

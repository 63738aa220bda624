"""The order of the two topics of one partition (R2.5, R3.3): pure, the clock and the log's ends come in as arguments.

Results depend on a customer's grants standing in the right place among the events. Within each topic the log decides;
between the two the record timestamps do, a grant first where they are equal. Heads are compared as soon as both are
known. When one side has nothing buffered, the other must not simply go on: something earlier may be on its way.

* An event goes when the log of grants holds nothing that we have not read, asked after the event has been with us for
  `wait_s`. It never waits for a grant that is not in the log.
* A grant goes when the log of events holds nothing that we have not read, asked after both the grant has been with us
  and the events have stood still for `hold_s`: whoever sends a burst may not have flushed all of it.

So the clock decides how long we wait; for a given order of arrival it never decides the result.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record


class PositionError(Exception):
    """Records were lost or repeated between Kafka and here."""


class Ends(NamedTuple):
    """Where the logs of a partition's two topics ended when they were asked."""

    asked_at_s: float
    """Seconds of a monotonic clock, taken before the request was sent."""
    events: int
    grants: int


class Side:
    """What one topic of the partition has delivered and was not taken yet."""

    __slots__ = ("arrivals", "arrived_at_s", "bytes", "name", "position", "records")

    def __init__(self, name: str, position: int) -> None:
        self.name = name
        self.position = position
        """Offset of the next record to be delivered."""
        self.records: deque[Record] = deque()
        self.arrivals: deque[tuple[int, float]] = deque()
        """(offset after the delivery, time of the delivery), for the deliveries that are not taken completely."""
        self.arrived_at_s = float("-inf")
        self.bytes = 0

    def add(self, start: int, records: Sequence[Record], position: int, now_s: float) -> None:
        """Take a delivery of the offsets from `start` up to `position`. Raises PositionError unless it follows the last."""
        if start != self.position:
            raise PositionError(f"{self.name}: expected offset {self.position}, but {start} was delivered")
        self.position = position
        if records:
            self.records.extend(records)
            self.arrivals.append((position, now_s))
            self.arrived_at_s = now_s
            self.bytes += sum(len(record.value or b"") for record in records)

    def head_arrived_at_s(self) -> float:
        """Return when the first record arrived."""
        return self.arrivals[0][1]

    def pop(self) -> Record:
        """Remove and return the first record."""
        record = self.records.popleft()
        self.bytes -= len(record.value or b"")
        while self.arrivals and self.arrivals[0][0] <= self.next_offset():
            self.arrivals.popleft()
        return record

    def next_offset(self) -> int:
        """Return the offset below which everything has been taken."""
        return self.records[0].offset if self.records else self.position


class Merge:
    """One partition's records of both topics, in the order in which they are to be rated."""

    def __init__(
        self, partition: int, events_position: int, grants_position: int, wait_s: float, hold_s: float
    ) -> None:
        self.events = Side(f"{EVENTS_TOPIC}/{partition}", events_position)
        self.grants = Side(f"{GRANTS_TOPIC}/{partition}", grants_position)
        self._wait_s = wait_s
        self._hold_s = hold_s

    def ready_at_s(self) -> float | None:
        """Return when it is worth to ask for the ends and take; None while nothing is buffered."""
        if self.events.records:
            return 0.0 if self.grants.records else self._event_due_s()
        return self._grant_due_s() if self.grants.records else None

    def needs_ends(self) -> bool:
        """Say whether the next record can only be taken with fresh ends: one side has nothing buffered."""
        return not (self.events.records and self.grants.records)

    def take(self, ends: Ends | None, count_max: int, bytes_max: int) -> list[Record]:
        """Remove and return the records that may be rated now, in order, at least one if any may.

        `ends` are those asked after `ready_at_s`; None when they are not known. The limits bound one call; the record
        that reaches a limit is the last.
        """
        taken: list[Record] = []
        size = 0
        while len(taken) < count_max and size < bytes_max:
            side = self._next_side(ends)
            if side is None:
                break
            record = side.pop()
            taken.append(record)
            size += len(record.value or b"")
        return taken

    def _next_side(self, ends: Ends | None) -> Side | None:
        if self.events.records and self.grants.records:
            grant_first = self.grants.records[0].timestamp_ms <= self.events.records[0].timestamp_ms
            return self.grants if grant_first else self.events
        if ends is None:
            return None
        if self.events.records:
            known = self.grants.position >= ends.grants and ends.asked_at_s >= self._event_due_s()
            return self.events if known else None
        if self.grants.records:
            known = self.events.position >= ends.events and ends.asked_at_s >= self._grant_due_s()
            return self.grants if known else None
        return None

    def _event_due_s(self) -> float:
        return self.events.head_arrived_at_s() + self._wait_s

    def _grant_due_s(self) -> float:
        return max(self.grants.head_arrived_at_s(), self.events.arrived_at_s) + self._hold_s

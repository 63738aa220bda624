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

from bisect import bisect_left
from collections import deque
from itertools import accumulate
from math import inf
from typing import NamedTuple

from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record

Run = list[Record]
"""Records of one topic, one behind the other."""


class PositionError(Exception):
    """Records were lost or repeated between Kafka and here."""


class Ends(NamedTuple):
    """Where the logs of a partition's two topics ended when they were asked."""

    asked_at_s: float
    """Seconds of a monotonic clock, taken before the request was sent."""
    events: int
    grants: int


class _Delivery:
    """Records that came together, and how far they are taken."""

    __slots__ = ("arrived_at_s", "ends", "records", "taken")

    def __init__(self, records: list[Record], arrived_at_s: float) -> None:
        self.records = records
        self.ends = list(accumulate([len(record.value or b"") for record in records]))
        """Where each record's value would end if they lay one behind the other."""
        self.taken = 0
        self.arrived_at_s = arrived_at_s

    def bytes_taken(self) -> int:
        """Return the size of what is taken."""
        return self.ends[self.taken - 1] if self.taken else 0


class Side:
    """What one topic of the partition has delivered and was not taken yet."""

    __slots__ = ("arrived_at_s", "bytes", "deliveries", "name", "position")

    def __init__(self, name: str, position: int) -> None:
        self.name = name
        self.position = position
        """Offset of the next record to be delivered."""
        self.deliveries: deque[_Delivery] = deque()
        """Those that are not taken completely."""
        self.arrived_at_s = float("-inf")
        self.bytes = 0

    def __bool__(self) -> bool:
        return bool(self.deliveries)

    def add(self, start: int, records: list[Record], position: int, now_s: float) -> None:
        """Take a delivery of the offsets from `start` up to `position`. Raises PositionError unless it follows the last."""
        if start != self.position:
            raise PositionError(f"{self.name}: expected offset {self.position}, but {start} was delivered")
        self.position = position
        if records:
            delivery = _Delivery(records, now_s)
            self.deliveries.append(delivery)
            self.arrived_at_s = now_s
            self.bytes += delivery.ends[-1]

    def head(self) -> Record:
        """Return the first record."""
        delivery = self.deliveries[0]
        return delivery.records[delivery.taken]

    def head_arrived_at_s(self) -> float:
        """Return when the first record arrived."""
        return self.deliveries[0].arrived_at_s

    def pop_run(self, count_max: int, bytes_max: int, before_ms: float) -> Run:
        """Remove and return the first record, and those behind it that came with it and are stamped before `before_ms`.

        The record that reaches a limit is the last.
        """
        delivery = self.deliveries[0]
        records, start, ends = delivery.records, delivery.taken, delivery.ends
        before = delivery.bytes_taken()
        stop = min(start + count_max, bisect_left(ends, before + bytes_max, start) + 1, len(records))
        if before_ms != inf:
            stop = next((at for at in range(start + 1, stop) if records[at].timestamp_ms >= before_ms), stop)
        delivery.taken = stop
        self.bytes -= ends[stop - 1] - before
        if stop == len(records):
            self.deliveries.popleft()
        return records[start:stop]

    def next_offset(self) -> int:
        """Return the offset below which everything has been taken."""
        return self.head().offset if self.deliveries else self.position


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
        if self.events:
            return 0.0 if self.grants else self._event_due_s()
        return self._grant_due_s() if self.grants else None

    def needs_ends(self) -> bool:
        """Say whether the next record can only be taken with fresh ends: one side has nothing buffered."""
        return not (self.events and self.grants)

    def take(self, ends: Ends | None, count_max: int, bytes_max: int) -> list[Run]:
        """Remove and return the records that may be rated now, in order, at least one if any may.

        `ends` are those asked after `ready_at_s`; None when they are not known. The limits bound one call; the record
        that reaches a limit is the last.
        """
        runs: list[Run] = []
        count, size = 0, 0
        while count < count_max and size < bytes_max:
            side, before_ms = self._next(ends)
            if side is None:
                break
            held = side.bytes
            run = side.pop_run(count_max - count, bytes_max - size, before_ms)
            runs.append(run)
            count += len(run)
            size += held - side.bytes
        return runs

    def _next(self, ends: Ends | None) -> tuple[Side | None, float]:
        """Return the side whose first record is next, and the timestamp from which on it is the other's turn."""
        if self.events and self.grants:
            event_ms, grant_ms = self.events.head().timestamp_ms, self.grants.head().timestamp_ms
            return (self.grants, event_ms + 1) if grant_ms <= event_ms else (self.events, grant_ms)
        if ends is None:
            return None, inf
        if self.events:
            known = self.grants.position >= ends.grants and ends.asked_at_s >= self._event_due_s()
            return (self.events if known else None), inf
        if self.grants:
            known = self.events.position >= ends.events and ends.asked_at_s >= self._grant_due_s()
            return (self.grants if known else None), inf
        return None, inf

    def _event_due_s(self) -> float:
        return self.events.head_arrived_at_s() + self._wait_s

    def _grant_due_s(self) -> float:
        return max(self.grants.head_arrived_at_s(), self.events.arrived_at_s) + self._hold_s

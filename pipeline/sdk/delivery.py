"""From memory to the pipeline, by way of the disk when the pipeline is away.

One thread, the keeper, decides; the courier's thread sends. An event that is not acknowledged within `spool_after_s`
goes to disk, where it stays until it is: so order is kept, and a crash costs what was younger.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from pipeline.sdk.courier import Courier
from pipeline.sdk.memory import Memory
from pipeline.sdk.spool import Position, Spool
from pipeline.sdk.spools import SpoolFull, Spools
from pipeline.sdk.stats import Tally
from pipeline.sdk.transport import Answered, Away, Outcome, Refusal, TooLarge, Transport

BATCH_EVENTS_MAX = 10_000
BATCH_BYTES_MAX = (1 << 20) - 4096
"""A larger array would be rejected as a whole (R2.1)."""
BACKOFF_S = 0.2
BACKOFF_S_MAX = 30.0
ADOPT_EVERY_S = 30.0
DISK_AGAIN_S = 5.0
TICK_S_MIN = 0.01
JOIN_S = 1.0
"""How much longer than it was given a close may take, for the disk."""


class Limits(NamedTuple):
    """How much is held where, and for how long."""

    batch_events: int = 1000
    batch_bytes: int = 768 << 10
    linger_s: float = 0.05
    """How long an event waits for others to share its batch."""
    memory_events: int = 20_000
    memory_bytes: int = 16 << 20
    spool_bytes: int = 256 << 20
    """Of all processes with the same destination and folder."""
    spool_after_s: float = 1.0
    """How long an event may stay unacknowledged in memory alone."""


def _within_the_rules(limits: Limits) -> Limits:
    return limits._replace(
        batch_events=min(limits.batch_events, BATCH_EVENTS_MAX), batch_bytes=min(limits.batch_bytes, BATCH_BYTES_MAX)
    )


class _Batch:
    """Events on their way, in chunks: those that are still to be sent."""

    def __init__(self, events: list[bytes], spool: Spool | None = None, position: Position | None = None) -> None:
        self.size = len(events)
        self.chunks = deque([events])
        self.taken_at = time.monotonic()
        self.spool = spool
        """Where they are on disk, up to `position`; None while they are in memory alone."""
        self.position = position
        self.spooled = self.size if spool is not None else 0
        self.inherited = False

    @property
    def waiting(self) -> list[bytes]:
        """Return the events that are still to be sent."""
        return [event for chunk in self.chunks for event in chunk]


class Delivery:
    """Takes events in any thread, and brings them to the pipeline in the order in which they came."""

    def __init__(self, transport: Transport, spools: Spools | None, limits: Limits, tally: Tally) -> None:
        self._limits, self._tally, self._spools = _within_the_rules(limits), tally, spools
        self._lock = threading.RLock()  # a signal handler of the host may emit while its thread is in here
        self._wake = threading.Condition(self._lock)
        self._settling = threading.Condition(self._lock)
        self._memory = Memory(events_max=limits.memory_events, bytes_max=limits.memory_bytes)
        self._courier = Courier(transport, self._wake_up)
        self._started = False
        self._thread: threading.Thread | None = None
        self._woken = True
        self._put = self._settled = self._hurry_to = 0
        """How many events came, how many are done with, and up to which one nothing lingers."""
        self._first_at = 0.0
        """Since when the first event in memory waits, or a little later."""
        self._closing_at: float | None = None
        self._batch: _Batch | None = None
        self._spilling = 0
        """How many events have left the memory and are not on disk yet."""
        self._failures = 0
        self._not_before = 0.0
        self._barred_until = 0.0
        """Until when the pipeline does not want to be asked: Retry-After."""
        self._disk_not_before = 0.0
        self._adopt_at = 0.0
        self._inherited_next = False

    @property
    def buffered(self) -> int:
        """Return how many events are in memory alone: never less than a kill of the process would lose."""
        with self._lock:
            batch = self._batch
            on_their_way = len(batch.waiting) if batch is not None and batch.spool is None else 0
            return len(self._memory) + on_their_way + self._spilling

    def put(self, event: bytes, *, urgent: bool = False) -> bool:
        """Take an event; return False when it is closed or has no room."""
        with self._lock:
            before = self._memory.bytes
            if self._closing_at is not None or not self._memory.put(event):
                return False
            self._put += 1
            if urgent:
                self._hurry_to = self._put
            count = len(self._memory)
            if count == 1:
                self._first_at = time.monotonic()
            if urgent or self._crosses(count, before):
                self._woken = True
                self._wake.notify()
        if not self._started:
            self.start()
        return True

    def start(self) -> None:
        """Start the threads, unless they were started before."""
        with self._lock:
            if self._started or self._closing_at is not None:
                return
            self._started = True  # first of all, for a signal handler that emits amid this
            thread = threading.Thread(target=self._run, name="usage-keeper", daemon=True)
            try:
                self._courier.start()
                thread.start()
            except RuntimeError as error:  # at the interpreter's end: close leaves on disk what came so late
                self._tally.say("threads", f"nothing is sent any more: {error}")
                return
            self._thread = thread

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was put before is acknowledged, or refused for good; return False when time is up first."""
        with self._lock:
            upto = self._hurry_to = self._put
            self._woken = True
            self._wake.notify()
            return self._settling.wait_for(lambda: self._settled >= upto, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Send what is there, for so long, and leave the rest on disk. What has no place there is lost, and counted."""
        with self._lock:
            if self._closing_at is not None:
                return
            now = time.monotonic()
            self._closing_at = now + timeout_s
            if now >= self._barred_until:
                self._failures, self._not_before = 0, now  # one more attempt
            self._woken = True
            self._wake.notify()
            thread = self._thread
        if thread is None or not thread.is_alive():
            self._finish()
        elif thread is not threading.current_thread():
            thread.join(timeout_s + JOIN_S)

    def _crosses(self, count: int, bytes_before: int) -> bool:
        """Return whether the last event is one that the keeper waits for."""
        limits, size = self._limits, self._memory.bytes
        return (
            count in (1, limits.batch_events, limits.memory_events // 2)
            or bytes_before < limits.batch_bytes <= size
            or bytes_before < limits.memory_bytes // 2 <= size
        )

    def _wake_up(self) -> None:
        with self._lock:
            self._woken = True
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._wake.wait_for(lambda: self._woken, self._sleep_s())
                self._woken = False
            try:
                if not self._turn():
                    return
            except Exception as error:  # noqa: BLE001 - the host must not suffer, nor events be lost
                self._tally.say("keeper", f"delivery is disturbed, and goes on: {error!r}", level=logging.ERROR)
                time.sleep(1.0)

    def _sleep_s(self) -> float | None:
        """Return after how long there may be something to do, unless something comes before."""
        batch = self._batch
        if len(self._memory) or self._closing_at is not None or (batch is not None and batch.spool is None):
            return max(self._limits.linger_s, TICK_S_MIN)
        if batch is not None and not self._courier.busy:
            return max(0.0, self._not_before - time.monotonic())
        return None if self._spools is None else ADOPT_EVERY_S

    def _turn(self) -> bool:
        """Do what is to be done now; return False when that was the last."""
        if (outcome := self._courier.take_outcome()) is not None:
            self._settle(outcome)
        now = time.monotonic()
        if self._closing_at is not None and self._is_over(now):
            self._finish()
            return False
        if self._spools is not None and now >= self._adopt_at and self._closing_at is None:
            self._adopt_at = now + ADOPT_EVERY_S
            self._tally.add("inherited", self._spools.adopt())
        if self._is_for_the_disk(now):
            self._spill()
        if self._batch is None:
            self._take_next(now)
        if self._batch is not None and not self._courier.busy and now >= self._not_before:
            self._tally.add("attempts")
            self._courier.send(self._batch.chunks[0])
        return True

    def _is_over(self, now: float) -> bool:
        """Return whether a close has nothing to wait for: all is sent, or time is up, or the disk takes what is left."""
        assert self._closing_at is not None
        empty = self._batch is None and not len(self._memory) and (self._spools is None or self._spools.own is None)
        return empty or now >= self._closing_at or (self._spools is not None and self._failures > 0)

    def _finish(self) -> None:
        """Leave on disk what was not sent, and end the courier."""
        if self._spools is not None:
            self._disk_not_before = 0.0
            self._spill()
            self._spools.close()
        if lost := self.buffered:
            self._tally.add("dropped", lost)
            self._tally.say(
                "lost", f"{lost} events are lost: closed before they were acknowledged", level=logging.ERROR
            )
        self._courier.stop()

    def _is_due(self, now: float) -> bool:
        """Return whether what is in memory shall not wait for more."""
        limits, count = self._limits, len(self._memory)
        return count > 0 and (
            count >= limits.batch_events
            or self._memory.bytes >= limits.batch_bytes
            or now - self._first_at >= limits.linger_s
            or self._settled < self._hurry_to
            or self._closing_at is not None
        )

    def _is_for_the_disk(self, now: float) -> bool:
        if self._spools is None or now < self._disk_not_before:
            return False
        if self._spools.own is not None:
            return self._is_due(now)  # behind what is there already
        limits, batch = self._limits, self._batch
        waiting_since = self._first_at if len(self._memory) else now
        if batch is not None and batch.spool is None:
            waiting_since = batch.taken_at
        return (
            now - waiting_since >= limits.spool_after_s
            or len(self._memory) >= limits.memory_events // 2
            or self._memory.bytes >= limits.memory_bytes // 2
        )

    def _spill(self) -> None:
        """Write what is in memory alone to the disk: the batch on its way, which is the first in our spool then, and the rest."""
        assert self._spools is not None
        batch = self._batch
        with self._lock:
            events = self._memory.take(events_max=len(self._memory), bytes_max=self._limits.memory_bytes * 2)
            self._spilling = len(events)
        try:
            if batch is not None and batch.spool is None:
                waiting = batch.waiting
                batch.position = self._spools.append(waiting)
                batch.spool, batch.spooled = self._spools.own, len(waiting)
            if events:
                self._spools.append(events)
                events = []
        except (OSError, SpoolFull) as error:
            self._disk_not_before = time.monotonic() + DISK_AGAIN_S
            reason = "the spool is full" if isinstance(error, SpoolFull) else f"the spool cannot be written: {error}"
            self._tally.say("disk", f"{reason}; events stay in memory, and are lost when there is no room")
        finally:
            with self._lock:
                self._memory.put_back(events)
                self._spilling = 0

    def _take_next(self, now: float) -> None:
        """Take what to send next, if anything: of earlier processes and of our own by turns, on disk before in memory."""
        spools = self._spools
        inherited = spools.adopted if spools is not None and self._closing_at is None else []
        own = spools.own if spools is not None else None
        ready = own is not None or self._is_due(now)
        if inherited and (self._inherited_next or not ready):
            self._inherited_next = False
            self._batch = self._batch_of(inherited[0], inherited=True)
            return
        self._inherited_next = True
        if own is not None:
            self._batch = self._batch_of(own)
        elif ready:
            limits = self._limits
            with self._lock:
                self._first_at = now
                self._batch = _Batch(self._memory.take(events_max=limits.batch_events, bytes_max=limits.batch_bytes))

    def _batch_of(self, spool: Spool, *, inherited: bool = False) -> _Batch | None:
        events, position = spool.peek(events_max=self._limits.batch_events, bytes_max=self._limits.batch_bytes)
        if not events:
            return None
        batch = _Batch(events, spool, position)
        batch.inherited = inherited
        return batch

    def _settle(self, outcome: Outcome) -> None:
        """Take in what came of the batch's first chunk."""
        batch = self._batch
        assert batch is not None
        chunk = batch.chunks[0]
        match outcome:
            case Away(reason, retry_after_s):
                self._tally.add("failed_attempts")
                self._hold_back(retry_after_s)
                self._tally.say("away", f"events cannot be sent, and are kept to be sent again: {reason}")
            case TooLarge(code, message) if len(chunk) == 1:
                self._reject(chunk, [Refusal(0, code, message)])
                self._replace_first(batch)
            case TooLarge():
                half = len(chunk) // 2
                self._replace_first(batch, chunk[:half], chunk[half:])
            case Answered(refused, again):
                self._tally.add("accepted", len(chunk) - len(refused) - len(again))
                self._reject(chunk, refused)
                if again:
                    self._replace_first(batch, [chunk[index] for index in again])
                    self._hold_back(0.0)
                else:
                    self._replace_first(batch)
                    self._failures = 0
        if not batch.chunks:
            self._complete(batch)

    def _replace_first(self, batch: _Batch, *chunks: list[bytes]) -> None:
        """Put what is still to be sent of a batch's first chunk in its place."""
        with self._lock:
            batch.chunks.popleft()
            batch.chunks.extendleft(reversed(chunks))

    def _hold_back(self, retry_after_s: float) -> None:
        """Wait before the next attempt: longer each time, and not as long as others who began at the same time."""
        delay_s = min(BACKOFF_S_MAX, BACKOFF_S * 2 ** min(self._failures, 16)) * random.uniform(0.5, 1.0)  # noqa: S311
        self._failures += 1
        now = time.monotonic()
        self._barred_until = now + retry_after_s
        self._not_before = max(now + delay_s, self._barred_until)

    def _complete(self, batch: _Batch) -> None:
        self._batch = None
        self._failures = 0
        if batch.spool is not None and batch.position is not None:
            try:
                batch.spool.acknowledge(batch.position, batch.spooled)
            except OSError as error:
                self._tally.say("position", f"sent events will be sent again by the next process: {error}")
        if batch.inherited:
            assert self._spools is not None
            self._spools.drop_empty()
            return
        with self._lock:
            self._settled += batch.size
            self._settling.notify_all()

    def _reject(self, chunk: Sequence[bytes], refused: Sequence[Refusal]) -> None:
        """Count, log and keep what will never be accepted."""
        if not refused:
            return
        self._tally.add("rejected", len(refused))
        code, message = refused[0].code, refused[0].message
        self._tally.say("rejected", f"{len(refused)} events were refused for good, the first: {code}: {message}")
        if self._spools is None:
            return
        at = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self._spools.keep_rejected(
                [
                    {"at": at, "code": each.code, "message": each.message, "event": msgspec.Raw(chunk[each.place])}
                    for each in refused
                ]
            )
        except (OSError, SpoolFull) as error:
            self._tally.say("not kept", f"what was refused could not be kept: {error or 'its file is full'}")

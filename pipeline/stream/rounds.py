"""Rounds of work: take what has come of a partition, rate it, write what follows from it, settle (DESIGN 4)."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from faust.types import TP
from mode import Service

from pipeline.codec.states import Positions
from pipeline.codec.switches import switched_to
from pipeline.domain.catalog import NO_CATALOG
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.stream.alarm import PoisonAlarm
from pipeline.stream.bundles import Bundle
from pipeline.stream.ends import EndOffsets, LogEnds
from pipeline.stream.holdings import Holding
from pipeline.stream.lag import Lag
from pipeline.stream.merge import Ends, Merge, Run, Side

ROUND_RECORDS_MAX = 20_000
ROUND_EVENTS_MAX = 20_000
"""After so many events a round writes what it has: a small record may hold ten thousand rejects."""

PAUSE_EVENTS = 250
"""After so many events, some milliseconds, a round lets others go on: the commits of other partitions, heartbeats."""

log = logging.getLogger(__name__)


class Desk:
    """One partition's work: what has come, what is held of it, and the task that does it."""

    def __init__(self, holding: Holding, merge: Merge, alarm: PoisonAlarm, epochs: Mapping[TP, int]) -> None:
        self.partition = holding.partition
        self.holding = holding
        self.merge = merge
        self.alarm = alarm
        self.epochs = epochs
        self.arrived = asyncio.Event()
        self.busy = False
        """In a round: it must not be cancelled, its effects are being written."""
        self.paced_until_s = 0.0
        """Before which no other round begins."""
        self.task: asyncio.Task[None] | None = None

    def sides(self) -> list[tuple[TP, Side]]:
        """Return both topics with what has come of them."""
        return [
            (TP(EVENTS_TOPIC, self.partition), self.merge.events),
            (TP(GRANTS_TOPIC, self.partition), self.merge.grants),
        ]

    def done(self) -> dict[str, int]:
        """Return, by topic, up to where the source is done."""
        positions = self.holding.positions
        if positions is None:
            raise RuntimeError(f"partition {self.partition}: work began without positions")
        return {EVENTS_TOPIC: positions.events, GRANTS_TOPIC: positions.grants}

    def taken(self) -> Positions:
        """Return up to where the merge has nothing left to take."""
        return Positions(self.merge.events.next_offset(), self.merge.grants.next_offset())

    def is_ahead(self) -> bool:
        """Say whether nothing is left and the sources went on without a record: ends and aborts of transactions."""
        return not (self.merge.events or self.merge.grants) and self.taken() != self.holding.positions

    async def write(self, positions: Positions) -> None:
        """Write what is pending, and that the source is done up to `positions`: both or nothing."""
        effects = self.holding.ledger.take_effects()
        self.alarm.note(effects, time.monotonic())
        await self.holding.writer.write(effects, positions)
        self.holding.positions = positions
        if effects.switched_to is not None:
            self.holding.catalog = effects.switched_to  # a rebalance that leaves the partition here goes on under it


class Rounds(Service):
    """Run the rounds of the assigned partitions, each partition for itself."""

    mundane_level = "debug"

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app = app
        self._ends = EndOffsets(app.settings)
        self._highwaters = EndOffsets(app.settings, "read_uncommitted")
        """For the lag: what lies behind somebody's open transaction waits too."""
        self._desks: dict[int, Desk] = {}
        self._working: set[asyncio.Task[None]] = set()
        """Of the present desks, and of those given up that are not finished."""
        self._halted = True

    async def on_start(self) -> None:
        """Connect to Kafka."""
        await asyncio.gather(self._ends.start(), self._highwaters.start())

    async def on_stop(self) -> None:
        """Finish the rounds under way, and disconnect."""
        await self.halt()
        await asyncio.gather(self._ends.stop(), self._highwaters.stop())

    def begin(self, positions: Mapping[TP, int], epochs: Mapping[TP, int]) -> None:
        """Begin to work on partitions that are assigned, sought and recovered."""
        settings = self.app.settings
        partitions = {tp.partition for tp in positions}
        sources = [TP(topic, of) for of in partitions | self._desks.keys() for topic in (EVENTS_TOPIC, GRANTS_TOPIC)]
        self._ends.watch(sources)
        self._highwaters.watch(sources)
        self._halted = False
        for partition in partitions:
            merge = Merge(
                partition,
                positions[TP(EVENTS_TOPIC, partition)],
                positions[TP(GRANTS_TOPIC, partition)],
                settings.merge_wait_ms / 1000,
                settings.merge_hold_ms / 1000,
            )
            holding = self.app.holdings[partition]
            holding.positions = Positions(merge.events.position, merge.grants.position)
            alarm = PoisonAlarm(partition, self.app.counters, stop=settings.worker_poison_stop)
            desk = Desk(holding, merge, alarm, epochs)
            self._desks[partition] = desk
            desk.task = asyncio.create_task(self._work(desk))
            self._working.add(desk.task)
            desk.task.add_done_callback(self._working.discard)

    async def halt(self) -> None:
        """Begin no further round, finish those under way, and forget the partitions.

        Ends the worker when a round cannot be finished in time: it must not write on after its partitions are another's.
        """
        self._halted = True
        for desk in self._desks.values():
            if desk.task is not None and not desk.busy:
                desk.task.cancel()
        self._desks = {}
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=self.app.settings.worker_rebalance_ms / 1000 / 2)
            if late:
                await self.app.crash(
                    TimeoutError(f"{len(late)} rounds could not be finished before partitions were given up")
                )

    def deliver(self, bundle: Bundle) -> None:
        """Take what an agent has received."""
        desk = self._desks.get(bundle.partition)
        if desk is None or desk.epochs[TP(bundle.topic, bundle.partition)] != bundle.epoch:
            return  # read before the partition was sought anew: it comes again
        side = desk.merge.events if bundle.topic == EVENTS_TOPIC else desk.merge.grants
        side.add(bundle.start, bundle.records, bundle.position, time.monotonic())
        if side.bytes >= self.app.settings.worker_buffer_bytes_max:
            self.app.consumer.on_buffer_full(TP(bundle.topic, bundle.partition))
        desk.arrived.set()

    def partitions(self) -> list[int]:
        """Return the partitions that are worked on."""
        return sorted(self._desks)

    async def lag(self) -> int:
        """Return how many offsets of the sources lie before us."""
        return sum(lag.offsets for lag in (await self.lags()).values())

    async def lags(self) -> dict[TP, Lag]:
        """Return what lies before us by topic and partition, where anything does."""
        if not self._desks:
            return {}
        ends = (await self._highwaters.fresh()).offsets
        lags = {}
        for tp, side in [pair for desk in self._desks.values() for pair in desk.sides()]:
            next_offset = side.next_offset()
            if (offsets := ends.get(tp, 0) - next_offset) > 0:
                lags[tp] = Lag(offsets, next_offset, side.head().timestamp_ms if side else None)
        return lags

    async def _work(self, desk: Desk) -> None:
        try:
            await self._adopt(desk)
            while not self._halted:
                runs = await self._next_runs(desk)
                if runs or desk.is_ahead():
                    desk.busy = True
                    begun_s = time.monotonic()
                    await self._round(desk, runs)
                    self.app.counters.observe("round_seconds", time.monotonic() - begun_s)
                    desk.busy = False
        except asyncio.CancelledError:
            raise
        except Exception as failure:  # noqa: BLE001 - whatever it is, nothing may be settled after it
            log.critical(
                "partition %d: the worker stops, nothing after the last commit is lost: %s: %s. It is done again at the next "
                "start; if it fails there too, mend the cause that the message names",
                desk.partition,
                type(failure).__name__,
                failure,
            )
            await self.app.crash(failure)

    async def _next_runs(self, desk: Desk) -> list[Run]:
        """Wait until records may be rated and return them; none when it is worth to look again."""
        desk.arrived.clear()
        ready_at_s = desk.merge.ready_at_s()
        if ready_at_s is None:
            if not desk.is_ahead():
                await desk.arrived.wait()
            return []
        wait_s = max(ready_at_s, desk.paced_until_s) - time.monotonic()
        if wait_s > 0:
            await _wait_for(desk.arrived, wait_s)
            return []
        ends = _ends_of(desk.partition, await self._ends.fresh()) if desk.merge.needs_ends() else None
        if self._halted:
            return []
        runs = desk.merge.take(ends, ROUND_RECORDS_MAX, self.app.settings.worker_round_bytes_max)
        if not runs and not desk.arrived.is_set():
            await desk.arrived.wait()  # something is in the log that we have not read: it is on its way
        return runs

    async def _round(self, desk: Desk, runs: list[Run]) -> None:
        """Rate records and write what follows from it, in one transaction or, when there is much, in several."""
        desk.paced_until_s = time.monotonic() + self.app.settings.worker_round_ms_min / 1000
        self._count_records(runs)
        ledger = desk.holding.ledger
        done = desk.done()
        pause_at = ledger.pending_events + PAUSE_EVENTS
        for run in runs:
            for record in run:
                if ledger.pending_events >= pause_at:
                    await asyncio.sleep(0)
                    pause_at = ledger.pending_events + PAUSE_EVENTS
                if ledger.pending_events >= ROUND_EVENTS_MAX:
                    await desk.write(Positions(done[EVENTS_TOPIC], done[GRANTS_TOPIC]))
                if record.topic == GRANTS_TOPIC:
                    await self._await_version(desk, record, done)
                try:
                    ledger.rate(record)
                except Exception as failure:
                    place = f"{record.topic}/{record.partition} offset {record.offset}"
                    raise RuntimeError(f"rating {place} failed: {failure!r}") from failure
                done[record.topic] = record.offset + 1
        await desk.write(desk.taken())
        limit = self.app.settings.worker_buffer_bytes_max // 2
        done = desk.done()  # what has come while we wrote is not: the group must never be ahead of the states
        for tp, side in desk.sides():
            self.app.consumer.settle(tp, done[tp.topic])
            if side.bytes < limit:
                self.app.consumer.on_buffer_drop(tp)

    async def _adopt(self, desk: Desk) -> None:
        """Take up the catalog version in force where the states were written, or, before any, the first there is (R10.4)."""
        versions, ledger = self.app.versions, desk.holding.ledger
        who = f"partition {desk.partition}"
        digest = desk.holding.catalog
        if digest is None and ledger.catalog is NO_CATALOG:
            digest = await versions.wait_for_any(who)
        if digest is None or digest == ledger.catalog.digest:
            return
        await self._wait_for(digest, who)
        ledger.adopt(await asyncio.to_thread(versions.versions.catalog, digest))
        log.info("%s: catalog version %s is in force", who, digest)

    async def _await_version(self, desk: Desk, record: Record, done: Mapping[str, int]) -> None:
        """Wait for the catalog version that a record puts in force; what was rated before it is written first (R10.4)."""
        digest = switched_to(record)
        if digest is None:
            return
        if digest not in self.app.versions.versions:
            await desk.write(Positions(done[EVENTS_TOPIC], done[GRANTS_TOPIC]))
            desk.busy = False  # a rebalance need not wait for it: nothing is half done
            await self._wait_for(digest, f"partition {desk.partition}")
            desk.busy = True
        await asyncio.to_thread(self.app.versions.versions.catalog, digest)  # a large one takes long to build
        log.info(
            "partition %d: catalog version %s comes into force at offset %d", desk.partition, digest, record.offset
        )

    async def _wait_for(self, digest: str, who: str) -> None:
        if digest not in self.app.versions.versions:
            self.app.counters.add("catalog_waits")
            await self.app.versions.wait_for(digest, who)

    def _count_records(self, runs: list[Run]) -> None:
        counters = self.app.counters
        counters.add("rounds")
        for run in runs:
            counters.add("records", len(run), run[0].topic)
            counters.add("record_bytes", sum([len(record.value or b"") for record in run]))


def _ends_of(partition: int, ends: LogEnds) -> Ends:
    return Ends(ends.asked_at_s, ends.offsets[TP(EVENTS_TOPIC, partition)], ends.offsets[TP(GRANTS_TOPIC, partition)])


async def _wait_for(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return

"""Faust's recovery, rebuilding ledgers from whole fetches, and stopping the worker when it cannot.

What differs from faust-streaming 0.15.3, and why:
* Source partitions are sought first, then the queues cleared, then resumed. Faust resumes first and loses what arrives
  in between (https://github.com/faust-streaming/faust/issues/596).
* Done means that the read position has reached the end that the log had, whatever records are still there: an empty or
  compacted changelog hangs Faust's (https://github.com/faust-streaming/faust/issues/176, 597, 651).
* An error ends the process; Faust logs "Error in recovery" and goes on with the state incomplete.
* A partition that stays here is not rebuilt, and is worked on while others are (holdings.py says why it may).
* A changelog is read after its earlier owners are fenced: nothing can be added to it any more but by us.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from aiokafka.errors import IllegalStateError
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.types import TP
from mode import Service

from pipeline.stream.bundles import Bundle

REQUEST_S_MAX = 60.0
"""How long the broker may take to answer a question of the recovery before the worker gives up."""
PROGRESS_S = 5.0

log = logging.getLogger(__name__)
T = TypeVar("T")


class LedgerRecovery(Recovery):
    """Rebuild the ledgers of the assigned partitions, then let the sources flow."""

    mundane_level = "debug"
    app: Any  # WorkerApp; naming it would be a cycle

    def __post_init__(self) -> None:
        self._positions: dict[TP, int] = {}
        self._epochs: Mapping[TP, int] = {}
        self._ends: Mapping[TP, int] = {}
        self._caught_up = asyncio.Event()
        self._restored = 0
        self._revocations = 0
        self._assigned_generation = -1

    def restore(self, bundle: Bundle) -> None:
        """Take changelog records; called by the consumer, in order."""
        tp = TP(bundle.topic, bundle.partition)
        if self._epochs.get(tp) != bundle.epoch or self._caught_up.is_set():
            return
        self.app.holdings[bundle.partition].restore(bundle.records)
        self._restored += len(bundle.records)
        self._positions[tp] = bundle.position
        self._check_caught_up()

    def _check_caught_up(self) -> None:
        if all(self._positions[tp] >= end for tp, end in self._ends.items()):
            self._caught_up.set()

    @Service.task
    async def _restart_recovery(self) -> None:
        """Recover after each rebalance, until stopped."""
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start.wait()):
                return
            self.signal_recovery_start.clear()
            try:
                await self._recover(self._generation_id, self._revocations)
            except (RebalanceAgain, IllegalStateError):  # the latter: partitions are no longer ours, a rebalance is on
                log.info("recovery begins again: partitions are being dealt out anew")
            except ServiceStopped:
                return

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Do nothing: changelog records come by `restore`, not by Faust's queue."""

    @Service.task
    async def _publish_stats(self) -> None:
        """Do nothing: progress is logged while waiting."""

    async def _recover(self, generation_id: int, revocations: int) -> None:
        """Go on at once with the partitions that were ours before; fence, rebuild and begin the others."""
        started_s = time.monotonic()
        app, consumer = self.app, self.app.consumer
        changelogs = {tp.partition: tp for tp in self.active_tps}
        self._set_recovery_started()
        self._positions, self._epochs, self._ends, self._restored = {}, {}, {}, 0
        self._caught_up.clear()
        await app.holdings.keep(set(changelogs))
        held = app.holdings.recovered()
        await self._ask(consumer.pause_at_broker({changelogs[partition] for partition in held}))
        await app.on_rebalance_complete.send()
        self._check_current(generation_id, revocations)
        app.flow_control.resume()  # clears the agents' queues; no source partition is active yet
        consumer.resume_flow()
        await app._fetcher.maybe_start()  # noqa: SLF001 - as Faust's recovery does
        await self._begin(held, generation_id, revocations)
        new = changelogs.keys() - held
        if new:
            await self._ask(
                app.holdings.take(new),
                "no transactional producer for our partitions: does the broker have transactions (check "
                "transaction.state.log.replication.factor), and are we allowed the transactional ids?",
            )
            await self._rebuild({changelogs[partition] for partition in new})
            for partition in new:
                app.holdings[partition].recovered = True
        log.info(
            "recovered %d state records in %.1f s; partitions %s, of which %s stayed",
            self._restored,
            time.monotonic() - started_s,
            sorted(changelogs),
            sorted(held),
        )
        app.counters.add("restored", self._restored)
        await self._begin(new, generation_id, revocations)
        self._complete(sorted(changelogs))

    async def _rebuild(self, changelogs: set[TP]) -> None:
        consumer = self.app.consumer
        self._positions, self._epochs = await self._ask(consumer.seek_to_start(changelogs))
        self._ends = await self._ask(consumer.highwaters(*changelogs))
        self._check_caught_up()
        consumer.resume_partitions(changelogs)
        await self._wait_until_caught_up()
        consumer.pause_partitions(changelogs)
        await self._ask(consumer.pause_at_broker(changelogs))

    async def _wait_until_caught_up(self) -> None:
        while not self._caught_up.is_set():
            waited = await self.wait_first(
                self._caught_up.wait(), self.signal_recovery_start.wait(), timeout=PROGRESS_S
            )
            self._check_interrupted(stopped=self.should_stop)
            if not waited.done:
                left = sum(end - self._positions[tp] for tp, end in self._ends.items())
                log.info("recovering: %d state records restored, %d offsets left", self._restored, left)

    async def _begin(self, partitions: set[int], generation_id: int, revocations: int) -> None:
        """Seek the sources of recovered partitions to where their work goes on, and let them flow."""
        app, consumer = self.app, self.app.consumer
        done = {partition: app.holdings[partition].positions for partition in partitions}
        positions, epochs = await self._ask(consumer.seek_to_work(done))
        self._check_current(generation_id, revocations)
        # No await from here on: a rebalance cannot come in between.
        app.rounds.begin(positions, epochs)
        consumer.resume_partitions(positions)

    def _complete(self, partitions: list[int]) -> None:
        app = self.app
        self._set_recovery_ended()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        app.on_rebalance_end()
        self.completed.set()
        if app.on_recovered is not None:
            app.on_recovered(partitions, self._restored)

    def _check_current(self, generation_id: int, revocations: int) -> None:
        """Raise RebalanceAgain when partitions were taken away since the recovery began."""
        if self.app.consumer.revocations != revocations or self.app.consumer_generation_id != generation_id:
            raise RebalanceAgain

    async def _ask(self, request: Awaitable[T], late: str = "the broker gave no answer to the recovery") -> T:
        """Await a request, unless the service stops or another rebalance begins.

        Raises TimeoutError saying what is `late` when it takes longer than REQUEST_S_MAX.
        """
        task = asyncio.ensure_future(asyncio.wait_for(request, REQUEST_S_MAX))
        try:
            await self.wait_first(task, self.signal_recovery_start.wait())
            self._check_interrupted(stopped=not task.done() and not self.signal_recovery_start.is_set())
            return task.result()
        except TimeoutError as failure:
            raise TimeoutError(f"after {REQUEST_S_MAX:g} s {late}") from failure
        finally:
            task.cancel()

    def _check_interrupted(self, *, stopped: bool) -> None:
        if self.signal_recovery_start.is_set():
            raise RebalanceAgain
        if stopped or self.should_stop:
            raise ServiceStopped

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Do nothing: there are no buffers to flush."""

    async def on_stop(self) -> None:
        """Do nothing: there are no buffers to flush."""

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Note the partitions of the new assignment and wake the recovery."""
        consumer = self.app.consumer
        unbroken = generation_id == self._assigned_generation + 1
        self._assigned_generation = generation_id
        # Who missed a generation cannot know who had the partitions in it, and would only be fenced.
        self.app.holdings.stay({tp.partition for tp in assigned} if unbroken else set())
        self._revocations = consumer.revocations
        self.app.counters.add("rebalances")
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

"""Faust's consumer, handing over whole fetches and committing ranges."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from pipeline.codec.states import Positions
from pipeline.stream.bundles import bundle_message
from pipeline.stream.fetching import BundleThread

GROUP_CHECK_S = 1.0

log = logging.getLogger(__name__)


class BundleConsumer(driver.Consumer):
    """Deliver a bundle a fetch and partition, and commit below which offset everything is done."""

    mundane_level = "debug"
    app: Any  # WorkerApp; naming it would be a cycle
    _thread: BundleThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settled: dict[TP, int] = {}
        self._epochs: dict[TP, int] = {}
        """By partition: of the last seek that we know of. What was read before it, or after one to come, is of no use."""
        self._changed = asyncio.Event()
        self.revocations = 0
        """How often partitions were taken away: work begun before must not be finished after."""

    def _new_consumer_thread(self) -> BundleThread:
        return BundleThread(self, loop=self.loop, beacon=self.beacon, settings=self.app.settings)

    # Delivery

    async def _drain_messages(self, fetcher: Any) -> None:
        """Read on until stopped: changelog bundles go to the recovery, the others to the agents.

        A bundle is dropped when the flow is suspended meanwhile; the partition is sought again before it is resumed.
        """
        try:
            while not (self.should_stop or fetcher.should_stop):
                active = set(self._get_active_partitions()) if self.flow_active else set()
                if active:
                    await self._deliver(active)
                else:
                    self._changed.clear()
                    await self._changed.wait()
        except asyncio.CancelledError:
            if not self.app.should_stop:  # else Faust takes it for a rebalance, if one is going on, and crashes
                raise

    async def _deliver(self, active: set[TP]) -> None:
        for bundle in await self._thread.fetch({tp: self._epochs[tp] for tp in active if tp in self._epochs}):
            if bundle.topic in self.app.tables.changelog_topics:
                self.app.tables.recovery.restore(bundle)
            else:
                message = bundle_message(bundle, self.app.consumer_generation_id)
                await self.wait_first(self.callback(message), self.suspend_flow.wait())

    def resume_flow(self) -> None:
        """Go on delivering."""
        super().resume_flow()
        self._changed.set()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Go on delivering from partitions."""
        super().resume_partitions(tps)
        self._changed.set()

    def on_buffer_full(self, tp: TP) -> None:
        """Stop delivering from a partition; Faust would not while another one is being recovered."""
        self._get_active_partitions().discard(tp)
        self._buffered_partitions.add(tp)

    def on_buffer_drop(self, tp: TP) -> None:
        """Go on delivering from a partition whose buffer was full."""
        super().on_buffer_drop(tp)
        self._changed.set()

    # Rebalance

    @Service.task
    async def _watch_group(self) -> None:
        """Stop the worker when the group is lost for good; it would wait for partitions for ever."""
        while not self.should_stop:
            await self.sleep(GROUP_CHECK_S)
            if not self.should_stop:
                await self._thread.check_group()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish the rounds that are under way, commit, and forget the partitions."""
        self.revocations += 1
        if revoked:
            log.info("partitions %s are given up", sorted({tp.partition for tp in revoked}))
        await self.app.rounds.halt()
        await self.commit()
        self._settled.clear()
        self._epochs.clear()
        self._buffered_partitions.clear()
        await super().on_partitions_revoked(revoked)

    async def seek_to_work(self, done: Mapping[int, Positions | None]) -> tuple[Mapping[TP, int], Mapping[TP, int]]:
        """Seek the sources of partitions to where their work goes on; return the positions and the epochs of the seeks."""
        positions = await self._thread.seek_to_work(done)
        self._committed_offset.update(positions)
        self._read_offset.update(positions)
        return positions, self._sought(positions)

    async def seek_to_start(self, partitions: set[TP]) -> tuple[Mapping[TP, int], Mapping[TP, int]]:
        """Seek changelog partitions to their beginning; return the positions and the epochs of the seeks."""
        positions = await self._thread.seek_to_start(partitions)
        return positions, self._sought(positions)

    def _sought(self, positions: Iterable[TP]) -> Mapping[TP, int]:
        epochs = {tp: self._thread.epoch(tp) for tp in positions}
        self._epochs.update(epochs)
        return epochs

    async def pause_at_broker(self, partitions: set[TP]) -> None:
        """Stop fetching changelog partitions until the next recovery."""
        await self._thread.pause_at_broker(partitions)

    # Commit

    async def on_stop(self) -> None:
        """Commit a last time; after a crash the thread that could do it is gone, and what is settled is skipped anyway."""
        if not self.app.crashed:
            await super().on_stop()

    def ack(self, message: Any) -> bool:  # noqa: ARG002 - Faust's signature
        """Do nothing: a bundle is settled in ranges, and Faust's streams ack what they skip."""
        return False

    def settle(self, tp: TP, offset: int) -> None:
        """Say that everything of a partition below `offset` is rated and written: Faust may commit it."""
        self._settled[tp] = offset

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return iter([tp for tp in self._settled if topics is None or tp in topics or tp.topic in topics])

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset to commit.

        Faust's own steps over one unacked message (https://github.com/faust-streaming/faust/issues/606).
        """
        return self._settled.get(tp)

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return offset > (self._committed_offset[tp] or 0)


class BundleTransport(driver.Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer: ClassVar[type[BundleConsumer]] = BundleConsumer

"""Faust's consumer, handing over whole fetches and committing ranges."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from pipeline.domain.records import Record
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments
from pipeline.stream.bundles import Bundle, bundle_message
from pipeline.stream.merge import PositionError

FETCH_RECORDS_MAX = 500
FETCH_BYTES_MAX = 4 << 20
"""A topic and partition; a single larger record or batch still comes whole (KIP-74)."""
FETCH_WAIT_MS_MAX = 100
"""How long the broker holds an idle fetch. A partition that was just read waits for it: aiokafka has one fetch a broker
under way. Faust's driver fixes it at 1500."""
POLL_S_MAX = 0.25
HEARTBEATS_A_SESSION = 4
REQUEST_TIMEOUT_MS = 40_000
GROUP_CHECK_S = 1.0


class BundleThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # faust is untyped
    """The thread that holds the aiokafka consumer; what runs in it is called through `call_thread`."""

    mundane_level = "debug"
    settings: Settings

    def __init__(self, *args: Any, settings: Settings, **kwargs: Any) -> None:
        super().__init__(*args, thread_loop=uvloop.new_event_loop(), **kwargs)
        self._close_thread_loop_on_stop = True
        self.settings = settings
        self._read: dict[TP, tuple[int, int]] = {}
        """By partition: epoch of the last seek, offset that the next bundle starts at."""
        self._seeks = 0

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:  # noqa: ARG002 - Faust's signature
        """Return the consumer; Faust's own has no setting for the fetch wait, and other names for the security ones."""
        settings = self.settings
        self._assignor = self.app.assignor
        return AIOKafkaConsumer(
            **kafka_arguments(settings),
            client_id=self.app.conf.broker_client_id,
            group_id=self.app.conf.id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            fetch_max_wait_ms=FETCH_WAIT_MS_MAX,
            session_timeout_ms=settings.worker_session_ms,
            heartbeat_interval_ms=settings.worker_session_ms // HEARTBEATS_A_SESSION,
            rebalance_timeout_ms=settings.worker_rebalance_ms,
            max_poll_interval_ms=max(settings.worker_rebalance_ms, 300_000),
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )

    def _stopped_set(self) -> None:
        """Tell the thread to stop, unless it stopped by itself because the app crashed."""
        if not self.thread_loop.is_closed():
            super()._stopped_set()

    async def fetch(self, partitions: set[TP]) -> list[Bundle]:
        """Return what is there of the partitions that were sought, after waiting a little when nothing is."""
        bundles: list[Bundle] = await self.call_thread(self._fetch, partitions)
        return bundles

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek the source partitions to their committed offsets, or to their beginning, and return where that is."""
        assigned = {tp for tp in self.assignment() if tp.topic not in self.app.tables.changelog_topics}
        positions: Mapping[TP, int] = await self.call_thread(self._seek_to_committed, assigned)
        return positions

    async def seek_to_start(self, partitions: set[TP]) -> Mapping[TP, int]:
        """Seek partitions to their earliest offsets and return those."""
        positions: Mapping[TP, int] = await self.call_thread(self._seek_to_start, partitions)
        return positions

    async def pause_at_broker(self, partitions: set[TP]) -> None:
        """Stop fetching partitions; Faust's own pause only ignores what is fetched, a changelog's own new records too."""
        await self.call_thread(self._pause, partitions)

    def epoch(self, tp: TP) -> int:
        """Return the epoch of a partition's last seek."""
        return self._read[tp][0]

    async def _fetch(self, partitions: set[TP]) -> list[Bundle]:
        consumer = self._ensure_consumer()
        wanted = {tp for tp in partitions if tp in self._read}
        if not wanted:
            return []
        fetched = await consumer._fetcher.fetched_records(wanted, timeout=POLL_S_MAX, max_records=FETCH_RECORDS_MAX)  # noqa: SLF001 - as Faust does
        bundles = []
        for tp in wanted:
            position = self._position(consumer, tp)
            if position is None or tp not in self._read:
                continue
            epoch, start = self._read[tp]
            records = fetched.get(tp, ())
            if records or position != start:
                self._read[tp] = (epoch, position)
                bundles.append(Bundle(tp.topic, tp.partition, epoch, start, [_to_record(r) for r in records], position))
        await self._check_gaps(consumer, bundles)
        return bundles

    async def _check_gaps(self, consumer: AIOKafkaConsumer, bundles: list[Bundle]) -> None:
        """Tell control records, over which a position may jump, from records that were deleted before they were read."""
        sources = [b for b in bundles if b.topic not in self.app.tables.changelog_topics]
        suspicious = [b for b in sources if (b.records[0].offset if b.records else b.position) != b.start]
        if not suspicious:
            return
        earliest = await consumer.beginning_offsets([TopicPartition(b.topic, b.partition) for b in suspicious])
        for bundle in suspicious:
            first = earliest[TopicPartition(bundle.topic, bundle.partition)]
            if first > bundle.start or bundle.position < bundle.start:
                raise PositionError(
                    f"{bundle.topic}/{bundle.partition}: offset {bundle.start} is gone, the log begins at {first}: records "
                    "were deleted before they were rated. Restore the topic, or, to go on without them, reset the offsets "
                    f"of group {self.app.conf.id}"
                )

    def _position(self, consumer: AIOKafkaConsumer, tp: TP) -> int | None:
        subscription = consumer._subscription.subscription  # noqa: SLF001 - no public way without waiting
        assignment = subscription.assignment if subscription else None
        state = assignment.state_value(tp) if assignment else None
        return state.position if state is not None and state.has_valid_position else None

    async def _seek_to_committed(self, partitions: set[TP]) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        if not partitions:
            return {}
        committed = await consumer._coordinator.fetch_committed_offsets([TopicPartition(*tp) for tp in partitions])  # noqa: SLF001 - one request for all
        known = {tp: committed[tp].offset for tp in partitions if tp in committed and committed[tp].offset >= 0}
        fresh = [TopicPartition(*tp) for tp in partitions if tp not in known]
        earliest = await consumer.beginning_offsets(fresh) if fresh else {}
        positions = known | {TP(*tp): offset for tp, offset in earliest.items()}
        self._seek(consumer, positions)
        return positions

    async def _seek_to_start(self, partitions: set[TP]) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        earliest = await consumer.beginning_offsets([TopicPartition(*tp) for tp in partitions]) if partitions else {}
        positions = {TP(*tp): offset for tp, offset in earliest.items()}
        self._seek(consumer, positions)
        consumer.resume(*(TopicPartition(*tp) for tp in partitions))
        return positions

    def _seek(self, consumer: AIOKafkaConsumer, positions: Mapping[TP, int]) -> None:
        self._seeks += 1
        for tp, offset in positions.items():
            if self._position(consumer, tp) != offset:  # keep what is already fetched from there
                consumer.seek(TopicPartition(*tp), offset)
            self._read[tp] = (self._seeks, offset)

    async def check_group(self) -> None:
        """Raise the error for which aiokafka gave up the group, if it did: authorisation, session timeout refused, ..."""
        await self.call_thread(self._check_group)

    async def _check_group(self) -> None:
        self._ensure_consumer()._coordinator.check_errors()  # noqa: SLF001 - getmany does it, but Faust does not use that

    async def _pause(self, partitions: set[TP]) -> None:
        self._ensure_consumer().pause(*(TopicPartition(*tp) for tp in partitions))


def _to_record(fetched: Any) -> Record:
    return Record(
        fetched.topic, fetched.partition, fetched.offset, fetched.timestamp, fetched.key, fetched.value, fetched.headers
    )


class BundleConsumer(driver.Consumer):  # type: ignore[misc]  # faust is untyped
    """Deliver a bundle a fetch and partition, and commit below which offset everything is done."""

    mundane_level = "debug"
    _thread: BundleThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settled: dict[TP, int] = {}
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
        revocations = self.revocations
        for bundle in await self._thread.fetch(active):
            if self.revocations != revocations:
                return
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
        await self.app.rounds.halt()
        await self.commit()
        self._settled.clear()
        self._buffered_partitions.clear()
        await super().on_partitions_revoked(revoked)

    async def seek_to_work(self) -> tuple[Mapping[TP, int], Mapping[TP, int]]:
        """Seek every source partition to where its work goes on; return the positions and the epochs of the seeks."""
        positions = await self._thread.seek_to_committed()
        self._committed_offset.update(positions)
        self._read_offset.update(positions)
        return positions, {tp: self._thread.epoch(tp) for tp in positions}

    async def seek_to_start(self, partitions: set[TP]) -> tuple[Mapping[TP, int], Mapping[TP, int]]:
        """Seek changelog partitions to their beginning; return the positions and the epochs of the seeks."""
        positions = await self._thread.seek_to_start(partitions)
        return positions, {tp: self._thread.epoch(tp) for tp in positions}

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

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:
        return [tp for tp in self._settled if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset to commit.

        Faust's own steps over one unacked message (https://github.com/faust-streaming/faust/issues/606).
        """
        return self._settled.get(tp)

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return offset > (self._committed_offset[tp] or 0)


class BundleTransport(driver.Transport):  # type: ignore[misc]  # faust is untyped
    """Faust's aiokafka transport with our consumer."""

    Consumer: ClassVar[type[BundleConsumer]] = BundleConsumer

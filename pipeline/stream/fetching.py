"""The thread of Faust's consumer: fetches as bundles, seeks, commits, membership."""

import logging
from collections.abc import Mapping
from itertools import chain
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from pipeline.codec.states import Positions
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, STATES_TOPIC, Record
from pipeline.settings import Settings
from pipeline.settings.clients import consumer_arguments
from pipeline.stream.bundles import Bundle
from pipeline.stream.chunks import CHUNK_RECORDS, ChunkConsumer
from pipeline.stream.merge import PositionError
from pipeline.stream.odd_headers import FETCH_BYTES_MAX, fetched_chunks

POLL_BYTES = 4 << 20
"""What one read should bring, by the size that records had lately: a read takes chunks of records by count."""
POLL_CHUNKS_MAX = 10_000 // CHUNK_RECORDS
FETCH_WAIT_MS_MAX = 100
"""How long the broker holds an idle fetch. A partition that was just read waits for it: aiokafka has one fetch a broker
under way. Faust's driver fixes it at 1500."""
POLL_S_MAX = 0.25
HEARTBEATS_A_SESSION = 10
"""A member learns by its heartbeat that partitions are dealt out anew, and all wait for the last."""
POLL_INTERVAL_MS_MAX = 2**31 - 1
"""A worker that cannot write for long does not fetch; aiokafka would leave the group then and never come back. What
hangs is ended by our own time limits."""
REQUEST_TIMEOUT_MS = 40_000

log = logging.getLogger(__name__)


class BundleThread(driver.AIOKafkaConsumerThread):
    """The thread that holds the aiokafka consumer; what runs in it is called through `call_thread`."""

    mundane_level = "debug"
    app: Any  # WorkerApp; naming it would be a cycle
    settings: Settings

    def __init__(self, *args: Any, settings: Settings, **kwargs: Any) -> None:
        super().__init__(*args, thread_loop=uvloop.new_event_loop(), **kwargs)
        self._close_thread_loop_on_stop = True
        self.settings = settings
        self._read: dict[TP, tuple[int, int]] = {}
        """By partition: epoch of the last seek, offset that the next bundle starts at."""
        self._seeks = 0
        self._poll_chunks = 1
        self._sought: Any = None

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Look after the sources: a changelog is not read any more once it is recovered."""
        if tp.topic != STATES_TOPIC:
            super().verify_event_path(now, tp)

    def _create_worker_consumer(self, *_: Any) -> AIOKafkaConsumer:
        """Return the consumer; Faust's own has no setting for the fetch wait, and other names for the security ones."""
        settings = self.settings
        self._assignor = self.app.assignor
        return ChunkConsumer(
            **consumer_arguments(settings),
            client_id=self.app.conf.broker_client_id,
            group_id=self.app.conf.id,
            group_instance_id=self.app.worker_name,
            partition_assignment_strategy=[self._assignor],
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            fetch_max_wait_ms=FETCH_WAIT_MS_MAX,
            session_timeout_ms=settings.worker_session_ms,
            heartbeat_interval_ms=settings.worker_session_ms // HEARTBEATS_A_SESSION,
            rebalance_timeout_ms=settings.worker_rebalance_ms,
            max_poll_interval_ms=POLL_INTERVAL_MS_MAX,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )

    def _stopped_set(self) -> None:
        """Tell the thread to stop, unless it stopped by itself because the app crashed."""
        if not self.thread_loop.is_closed():
            super()._stopped_set()

    async def fetch(self, partitions: Mapping[TP, int]) -> list[Bundle]:
        """Return what is there of partitions since the seek of that epoch, after waiting a little when nothing is."""
        bundles: list[Bundle] = await self.call_thread(self._fetch, partitions)
        return bundles

    async def seek_to_work(self, done: Mapping[int, Positions | None]) -> Mapping[TP, int]:
        """Seek the sources of partitions to where they are done, or to their beginning, and return where that is.

        Raises PositionError when the group has committed more than is done: states are missing.
        """
        wanted = {
            TP(EVENTS_TOPIC, partition): None if positions is None else positions.events
            for partition, positions in done.items()
        } | {
            TP(GRANTS_TOPIC, partition): None if positions is None else positions.grants
            for partition, positions in done.items()
        }
        positions: Mapping[TP, int] = await self.call_thread(self._seek_to_work, wanted) if wanted else {}
        return positions

    async def seek_to_start(self, partitions: set[TP]) -> Mapping[TP, int]:
        """Seek partitions to their earliest offsets and return those."""
        positions: Mapping[TP, int] = await self.call_thread(self._seek_to_start, partitions)
        return positions

    async def pause_at_broker(self, partitions: set[TP]) -> None:
        """Stop fetching partitions; Faust's own pause only ignores what is fetched, a changelog's own new records too."""
        await self.call_thread(self._pause, partitions)

    def epoch(self, tp: TP) -> int:
        """Return the epoch of a partition's last seek: it grows with each."""
        return self._read[tp][0]

    async def _fetch(self, partitions: Mapping[TP, int]) -> list[Bundle]:
        consumer = self._ensure_consumer()
        wanted = {tp for tp, epoch in partitions.items() if tp in self._read and self._read[tp][0] == epoch}
        if not wanted or not self._is_sought(consumer):
            return []
        fetched = await fetched_chunks(
            consumer,
            lambda: {tp: self._read[tp][1] for tp in wanted & self._read.keys()},
            POLL_S_MAX,
            self._poll_chunks,
        )
        if not self._is_sought(consumer):
            return []  # dealt out anew meanwhile: the seek that is to come takes back what was read
        bundles = []
        for tp in wanted & self._read.keys():
            epoch, start = self._read[tp]
            position = self._position(consumer, tp)
            if epoch != partitions[tp]:
                self._seek_back(consumer, tp, start)
            elif position is not None and (position != start or tp in fetched):
                self._read[tp] = (epoch, position)
                records = list(chain.from_iterable(fetched.get(tp, ())))
                bundles.append(Bundle(tp.topic, tp.partition, epoch, start, records, position))
        self._adapt([chunk for chunks in fetched.values() for chunk in chunks])
        await self._check_gaps(consumer, bundles)
        return bundles

    def _adapt(self, chunks: list[list[Record]]) -> None:
        if chunks:
            size = sum(len(chunk[0].value or b"") * len(chunk) for chunk in chunks) // len(chunks) + 1
            self._poll_chunks = min(max(POLL_BYTES // size, 1), POLL_CHUNKS_MAX)

    async def _check_gaps(self, consumer: AIOKafkaConsumer, bundles: list[Bundle]) -> None:
        """Tell control records, over which a position may jump, from records that were deleted before they were read."""
        sources = [b for b in bundles if b.topic not in self.app.tables.changelog_topics]
        suspicious = [b for b in sources if (b.records[0].offset if b.records else b.position) != b.start]
        if not suspicious:
            return
        earliest = await consumer.beginning_offsets([TopicPartition(b.topic, b.partition) for b in suspicious])
        for bundle in suspicious:
            first = earliest[TopicPartition(bundle.topic, bundle.partition)]
            place = f"{bundle.topic}/{bundle.partition}: offset {bundle.start} is not in the log"
            if bundle.position < bundle.start:
                raise PositionError(f"{place}: it has lost its end. Restore the topic: what was rated came from it")
            if first > bundle.start:
                raise PositionError(
                    f"{place}, which begins at {first}: records were deleted before they were rated. Restore the topic; or, "
                    f"to go on without them, set the offsets of group {self.app.conf.id} to where it shall go on, and "
                    "worker_skip (USAGE_WORKER_SKIP=true) once"
                )

    def _current(self, consumer: AIOKafkaConsumer) -> Any:
        subscription = consumer._subscription.subscription  # noqa: SLF001 - no public way without waiting
        return subscription.assignment if subscription else None

    def _is_sought(self, consumer: AIOKafkaConsumer) -> bool:
        """Say whether the assignment is still the one in which the positions were sought."""
        return self._sought is not None and self._current(consumer) is self._sought

    def _position(self, consumer: AIOKafkaConsumer, tp: TP) -> int | None:
        assignment = self._current(consumer)
        state = assignment.state_value(tp) if assignment else None
        return state.position if state is not None and state.has_valid_position else None

    async def _seek_to_work(self, wanted: Mapping[TP, int | None]) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        fresh = [TopicPartition(*tp) for tp, offset in wanted.items() if offset is None]
        earliest = await consumer.beginning_offsets(fresh) if fresh else {}
        positions = {tp: earliest[TopicPartition(*tp)] if offset is None else offset for tp, offset in wanted.items()}
        committed = await consumer._coordinator.fetch_committed_offsets([TopicPartition(*tp) for tp in wanted])  # noqa: SLF001 - one request for all
        for tp, offset in positions.items():
            ahead = committed[TopicPartition(*tp)].offset if TopicPartition(*tp) in committed else -1
            if ahead > offset:
                positions[tp] = self._skipped(tp, offset, ahead)
        self._seek(consumer, positions)
        return positions

    def _skipped(self, tp: TP, offset: int, committed: int) -> int:
        """Return where to go on when the group is ahead of the states: what lies in between was rated, or is given up."""
        if not self.settings.worker_skip:
            raise PositionError(
                f"{tp.topic}/{tp.partition}: group {self.app.conf.id} has committed offset {committed}, but the states in "
                f"{STATES_TOPIC} end at {offset}: the changelog has lost records. Restore the topic; or, to go on without what "
                "lies in between, set worker_skip (USAGE_WORKER_SKIP=true) once"
            )
        log.critical(
            "%s/%d: offsets %d to %d are skipped, as worker_skip says", tp.topic, tp.partition, offset, committed
        )
        return committed

    async def _seek_to_start(self, partitions: set[TP]) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        earliest = await consumer.beginning_offsets([TopicPartition(*tp) for tp in partitions]) if partitions else {}
        positions = {TP(*tp): offset for tp, offset in earliest.items()}
        self._seek(consumer, positions)
        consumer.resume(*(TopicPartition(*tp) for tp in partitions))
        return positions

    def _seek(self, consumer: AIOKafkaConsumer, positions: Mapping[TP, int]) -> None:
        self._seeks += 1
        if not self._is_sought(consumer):
            self._read.clear()
            self._sought = self._current(consumer)
        for tp, offset in positions.items():
            self._seek_back(consumer, tp, offset)
            self._read[tp] = (self._seeks, offset)

    def _seek_back(self, consumer: AIOKafkaConsumer, tp: TP, offset: int) -> None:
        if self._position(consumer, tp) != offset:  # keep what is already fetched from there
            consumer.seek(TopicPartition(*tp), offset)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit, unless the group has moved on: then another worker does again what we cannot commit.

        Faust means to do the same, but looks for words that aiokafka's message has on two lines, and crashes.
        """
        wanted = {TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
        try:
            await self._ensure_consumer().commit(wanted)
        except (CommitFailedError, IllegalStateError):
            log.info("positions could not be committed: partitions are being dealt out anew")
            return False
        return True

    async def on_thread_stop(self) -> None:
        """Leave the group, so that others take over at once; aiokafka leaves it only without a name."""
        if self._consumer is not None and not self.app.crashed:
            await self._leave_group(self._consumer._coordinator)  # noqa: SLF001 - no public way
        await super().on_thread_stop()

    async def _leave_group(self, coordinator: Any) -> None:
        if coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID:
            return
        try:
            await coordinator._send_req(LeaveGroupRequest(coordinator.group_id, coordinator.member_id))  # noqa: SLF001
        except KafkaError as failure:
            log.warning("could not leave the group, others take over after the session timeout: %r", failure)

    async def check_group(self) -> None:
        """Raise the error for which aiokafka gave up the group, if it did: authorisation, session timeout refused, ..."""
        await self.call_thread(self._check_group)

    async def _check_group(self) -> None:
        self._ensure_consumer()._coordinator.check_errors()  # noqa: SLF001 - getmany does it, but Faust does not use that

    async def _pause(self, partitions: set[TP]) -> None:
        self._ensure_consumer().pause(*(TopicPartition(*tp) for tp in partitions))

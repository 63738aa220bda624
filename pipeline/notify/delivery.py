"""Alerts to one target, in order and at least once: its consumer group's positions are what it has got.

Each target has a group of its own, so that none waits for another. An alert that is not delivered holds its partition,
which is paused until the next attempt; the positions move on only when a target has got an alert, or when it is in
`usage.dead-letter`.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError, KafkaError

from pipeline.domain.catalog import Catalog
from pipeline.domain.records import ALERTS_TOPIC
from pipeline.notify.letters import Undeliverables
from pipeline.notify.notices import Notice, notice_of
from pipeline.notify.sending import Sender, UndeliveredError
from pipeline.notify.targets import Target
from pipeline.observe.counters import Counters
from pipeline.settings import Settings
from pipeline.settings.clients import consumer_arguments

log = logging.getLogger(__name__)

FETCH_BYTES_MAX = 256 * 1024
"""What a target holds in memory, about."""
RECORDS_MAX = 100
IDLE_WAIT_MS = 200
KAFKA_RETRY_S = 2.0
SESSION_MS = 6_000
"""The least that a broker allows by default: so long after a crash nothing is delivered."""
REBALANCE_MS = 70_000
"""A rebalance waits for an attempt that is under way: longer than a target's time limit can be."""
_POLL_INTERVAL_MS_MAX = 2**31 - 1


class NoTopicError(Exception):
    """There is no topic of alerts."""


@dataclass(slots=True)
class _Retry:
    """The alert that a partition waits to deliver again."""

    offset: int
    attempts: int = 0
    at_s: float = 0
    """When, on the monotonic clock."""


class Delivery:
    """Delivers `usage.alerts` to one target, from where it stopped the last time."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog | None,
        target: Target,
        sender: Sender,
        letters: Undeliverables,
        counters: Counters,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._target = target
        self._sender = sender
        self._letters = letters
        self._counters = counters
        self._started_ms = int(time.time() * 1000)
        self._stopping = asyncio.Event()
        self._retries: dict[TopicPartition, _Retry] = {}
        self._assignment = _Assignment(self._retries)
        self.delivered = 0
        self.ready = asyncio.Event()
        """Set when the group has dealt out its partitions."""

    @property
    def target(self) -> str:
        """Return the target's name."""
        return self._target.name

    @property
    def waiting(self) -> int:
        """Return how many partitions wait for the target."""
        return len(self._retries)

    def stop(self) -> None:
        """Finish the attempt that is under way, and leave the group."""
        self._stopping.set()

    async def run(self) -> None:
        """Deliver until `stop`. Raises NoTopicError, KafkaError for what waiting does not mend, and OSError."""
        consumer = AIOKafkaConsumer(
            **consumer_arguments(self._settings),
            client_id="usage-alerts",
            group_id=f"{self._settings.alerts_group}.{self._target.name}",
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 3,
            rebalance_timeout_ms=REBALANCE_MS,
            max_poll_interval_ms=_POLL_INTERVAL_MS_MAX,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            fetch_max_bytes=FETCH_BYTES_MAX,
        )
        consumer.subscribe([ALERTS_TOPIC], listener=self._assignment)
        try:
            await self._connect(consumer)
            while not self._stopping.is_set():
                await self._step(consumer)
        finally:
            await consumer.stop()
            await self._sender.close()
        log.info("target %s: stopped, %d alerts delivered", self._target.name, self.delivered)

    async def _connect(self, consumer: AIOKafkaConsumer) -> None:
        while not self._stopping.is_set():
            try:
                await consumer.start()
                if ALERTS_TOPIC not in await consumer.topics():
                    raise NoTopicError(
                        f"there is no topic {ALERTS_TOPIC}: is it the right Kafka? `usage topics` creates it"
                    )
            except KafkaConnectionError as error:
                log.warning("target %s: waiting for Kafka: %s", self._target.name, error)
                await self._pause(KAFKA_RETRY_S)
            else:
                return

    async def _step(self, consumer: AIOKafkaConsumer) -> None:
        """Deliver what is there, or wait a little for it."""
        if self._assignment.fresh and consumer.assignment():
            self._assignment.fresh = False
            if self._target.start == "now":
                await self._skip_the_past(consumer)
            numbers = sorted(place.partition for place in consumer.assignment())
            log.info("target %s: ready, partitions %s", self._target.name, numbers)
            self.ready.set()
        fetched = await consumer.getmany(timeout_ms=self._resume(consumer), max_records=RECORDS_MAX)
        for place, records in fetched.items():
            await self._deliver(consumer, place, records)

    def _resume(self, consumer: AIOKafkaConsumer) -> int:
        """Let partitions go on whose wait is over; return how long there is nothing to do but to look for records, in ms."""
        wait_s = IDLE_WAIT_MS / 1000
        for place, retry in self._retries.items():
            left_s = retry.at_s - time.monotonic()
            if left_s <= 0:
                consumer.resume(place)
            else:
                wait_s = min(wait_s, left_s)
        return int(wait_s * 1000) + 1

    async def _skip_the_past(self, consumer: AIOKafkaConsumer) -> None:
        """Commit the ends of partitions of which nothing was ever delivered, so that a restart goes on from here."""
        new = [place for place in consumer.assignment() if await consumer.committed(place) is None]
        for place, end in (await consumer.end_offsets(new)).items() if new else ():
            consumer.seek(place, end)
            await consumer.commit({place: end})

    async def _deliver(self, consumer: AIOKafkaConsumer, place: TopicPartition, records: list[ConsumerRecord]) -> None:
        """Deliver a partition's records in order, up to the first that must wait."""
        generation = self._assignment.generation
        skipped_to = None
        for record in records:
            async with self._assignment.working:
                if self._stopping.is_set() or generation != self._assignment.generation:
                    self._come_back(consumer, record, place)
                    break
                outcome = await self._settle(place, record)
                if outcome == "waits":
                    consumer.pause(place)
                    self._come_back(consumer, record, place)
                    break
                skipped_to = record.offset + 1
                if outcome == "settled":
                    await self._commit(consumer, place, skipped_to)
                    skipped_to = None
        if skipped_to is not None:
            await self._commit(consumer, place, skipped_to)

    def _come_back(self, consumer: AIOKafkaConsumer, record: ConsumerRecord, place: TopicPartition) -> None:
        if place in consumer.assignment():
            consumer.seek(place, record.offset)

    async def _settle(self, place: TopicPartition, record: ConsumerRecord) -> str:
        """Return whether a record is `settled` (delivered, or a dead letter), `skipped` (not for the target) or `waits`."""
        try:
            notice = notice_of(record, self._catalog)
        except ValueError as error:
            return await self._give_up(place, record, str(error))
        if not self._target.wants(notice):
            self._retries.pop(place, None)
            return "skipped"
        try:
            await self._sender.send(notice)
        except UndeliveredError as failure:
            age_s = time.time() - max(record.timestamp, self._started_ms) / 1000
            if failure.permanent or age_s >= self._settings.alerts_give_up_s:
                return await self._give_up(place, record, str(failure))
            return self._wait(place, record, str(failure), failure.retry_after_s, notice)
        self._retries.pop(place, None)
        self.delivered += 1
        self._counters.add("alert_deliveries", 1, self._target.name)
        log.debug("target %s: delivered %s", self._target.name, notice.id)
        return "settled"

    async def _give_up(self, place: TopicPartition, record: ConsumerRecord, reason: str) -> str:
        where = f"{ALERTS_TOPIC}/{record.partition} offset {record.offset}"
        try:
            await self._letters.write(record, self._target.name, reason)
        except KafkaError as error:
            return self._wait(place, record, f"{reason}; and Kafka does not take its dead letter: {error!r}", 0, None)
        self._counters.add("alerts_given_up", 1, self._target.name)
        log.error("target %s: %s is NOT delivered and in usage.dead-letter: %s", self._target.name, where, reason)
        self._retries.pop(place, None)
        return "settled"

    def _wait(
        self, place: TopicPartition, record: ConsumerRecord, reason: str, asked_s: float, notice: Notice | None
    ) -> str:
        """Note when a record is tried again: after a wait that doubles, with jitter, or as long as the receiver asks."""
        retry = self._retries.get(place)
        if retry is None or retry.offset != record.offset:
            retry = self._retries[place] = _Retry(record.offset)
        wait_s = backoff_s(self._settings, retry.attempts, random.uniform)
        wait_s = max(wait_s, asked_s)
        retry.attempts += 1
        self._counters.add("alert_failures", 1, self._target.name)
        retry.at_s = time.monotonic() + wait_s
        what = notice.id if notice else f"offset {record.offset}"
        log.warning(
            "target %s: %s not delivered, attempt %d: %s; again in %.1f s",
            self._target.name, what, retry.attempts, reason, wait_s,
        )  # fmt: skip
        return "waits"

    async def _commit(self, consumer: AIOKafkaConsumer, place: TopicPartition, offset: int) -> None:
        """Commit a position. Where that fails for good, the alerts since the last one are delivered again."""
        while True:
            try:
                await consumer.commit({place: offset})
            except (CommitFailedError, IllegalStateError):
                log.warning("target %s: the group was dealt out anew before a commit", self._target.name)
            except KafkaError as error:
                log.warning("target %s: Kafka does not take the position %d: %r", self._target.name, offset, error)
                if await self._pause(KAFKA_RETRY_S):
                    return
                continue
            return

    async def _pause(self, wait_s: float) -> bool:
        """Wait, or until `stop`; tell whether it was that."""
        try:
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Lets an attempt end before its partition goes to another process, and notes when partitions are dealt out."""

    def __init__(self, retries: dict[TopicPartition, _Retry]) -> None:
        self._retries = retries
        self.working = asyncio.Lock()
        self.generation = 0
        self.fresh = False

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - all of them
        """Wait until what is under way is delivered and committed."""
        self.generation += 1
        async with self.working:
            self._retries.clear()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - as above
        """Note that there are partitions."""
        self.fresh = True


def backoff_s(settings: Settings, attempts: int, uniform: Callable[[float, float], float]) -> float:
    """Return how long to wait after so many earlier attempts; half of it is left to chance."""
    doubled_ms = settings.alerts_retry_ms << min(attempts, 30)
    return uniform(0.5, 1) * min(doubled_ms, settings.alerts_retry_ms_max) / 1000

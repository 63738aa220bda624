"""Watching from outside how far the stack is: what is rated, what is in ClickHouse, and when all of it is."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.codec.states import POSITIONS_KEY, restore_positions
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC, STATES_TOPIC
from tests.faults.processes import until

POLL_S = 0.1
POLL_S_MAX = 5.0
_BYTES_A_FETCH = 4 << 20


class NotDrainedError(Exception):
    """The stack did not get to the end of what was fed; the message says what is missing."""


class Watch:
    """Reads the broker directly, past all proxies. Survives its deaths."""

    def __init__(self, kafka: str, partitions: int, worker_group: str, sink_group: str) -> None:
        self._kafka = kafka
        self._partitions = range(partitions)
        self._worker_group = worker_group
        self._sink_group = sink_group
        self._task: asyncio.Task[None] | None = None
        self._lines_end: dict[TopicPartition, int] = {}
        """The offset after the last committed record of `usage.lines` that was seen."""
        self.rated: dict[TopicPartition, int] = {}
        """Up to where the sources are done, as the states say or the group does."""
        self.stored: dict[TopicPartition, int] = {}
        """Up to where `usage.lines` is in ClickHouse, as the sink says."""
        self._position: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._polls = 0
        self._old: set[asyncio.Future[None]] = set()
        """Clients of a broker that was killed, coming to their end."""

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            await asyncio.wait(self._old, timeout=POLL_S_MAX)

    async def done_up_to(self, fed: dict[TopicPartition, int], patience_s: float) -> None:
        """Return when all that was fed up to these offsets is in ClickHouse. Raises NotDrainedError."""
        deadline = time.monotonic() + patience_s

        async def wait(left: Callable[[], list[str]]) -> None:
            try:
                await until(lambda: not left(), "the stack", deadline - time.monotonic())
            except TimeoutError:
                raise NotDrainedError(f"not done after {patience_s:g} s: {', '.join(left())}") from None

        await wait(lambda: _behind(self.rated, {place: offset + 1 for place, offset in fed.items()}))
        polls = self._polls
        await wait(lambda: [] if self._polls > polls + 1 else ["the broker does not answer"])
        await wait(lambda: _behind(self._position, self._ends))  # so that all lines of what is rated have been seen
        lines = dict(self._lines_end)
        await wait(lambda: _behind(self.stored, lines))

    async def _watch(self) -> None:
        """Watch with new clients when the old ones stand still: some never notice that their broker was killed."""
        while True:
            task = asyncio.create_task(self._watch_connected())
            self._old.add(task)
            polls = -1
            try:
                while not task.done() and self._polls != polls:
                    polls = self._polls
                    await asyncio.wait({task}, timeout=POLL_S_MAX)
            finally:
                task.cancel()
            await asyncio.sleep(POLL_S)

    async def _watch_connected(self) -> None:
        """Read until the broker goes away; begin from the start, as nothing may be missed."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_BYTES_A_FETCH,
            request_timeout_ms=3000,
            retry_backoff_ms=50,
        )
        admin = AIOKafkaAdminClient(bootstrap_servers=self._kafka, request_timeout_ms=3000)
        topics = (LINES_TOPIC, STATES_TOPIC)
        places = [TopicPartition(topic, number) for topic in topics for number in self._partitions]
        try:
            await consumer.start()
            await admin.start()
            consumer.assign(places)
            while True:
                await self._poll(consumer, admin, places)
        except (KafkaError, OSError):
            return  # it went away
        finally:
            self._old |= {asyncio.ensure_future(consumer.stop()), asyncio.ensure_future(admin.close())}

    async def _poll(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient, places: list[TopicPartition]) -> None:
        ends = await consumer.end_offsets(places)
        for place, records in (await consumer.getmany(timeout_ms=int(POLL_S * 1000))).items():
            for record in records:
                self._see(place, record)
        for place in places:
            self._position[place] = await consumer.position(place)
        for group, found, topics in (
            (self._worker_group, self.rated, (EVENTS_TOPIC, GRANTS_TOPIC)),
            (self._sink_group, self.stored, (LINES_TOPIC,)),
        ):
            wanted = [TopicPartition(topic, number) for topic in topics for number in self._partitions]
            for place, entry in (await admin.list_consumer_group_offsets(group, partitions=wanted)).items():
                found[place] = max(found.get(place, 0), entry.offset)
        self._ends = ends
        self._polls += 1

    def _see(self, place: TopicPartition, record: Any) -> None:
        if place.topic == LINES_TOPIC:
            self._lines_end[place] = max(self._lines_end.get(place, 0), record.offset + 1)
        elif record.key == POSITIONS_KEY:
            done = restore_positions(record.value)
            for topic, offset in ((EVENTS_TOPIC, done.events), (GRANTS_TOPIC, done.grants)):
                source = TopicPartition(topic, place.partition)
                self.rated[source] = max(self.rated.get(source, 0), offset)


def _behind(places: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> list[str]:
    """Return how far places are behind ends, in words."""
    return [
        f"{place.topic}/{place.partition}: {end - places.get(place, 0)}"
        for place, end in ends.items()
        if places.get(place, 0) < end
    ]

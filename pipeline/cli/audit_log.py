"""Kafka's logs as an audit reads them: from the beginning to an end that was asked first, what was committed only."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pipeline.domain.records import Record
from pipeline.settings import Settings
from pipeline.settings.clients import consumer_arguments, kafka_arguments

FETCH_BYTES_MAX = 32 << 20
STALLED_S_MAX = 60
"""When a log gives nothing for so long before its end, the audit gives up."""
_WAIT_MS = 1_000

Offsets = Mapping[TopicPartition, int]


class LogError(Exception):
    """A log cannot be read as an audit must; the message says why."""


class Logs:
    """Reads logs of the pipeline; it belongs to no consumer group and commits nothing."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: Mapping[str, int]) -> None:
        self._consumer = consumer
        self._partitions = partitions

    def partitions(self, topic: str) -> list[TopicPartition]:
        """Return a topic's partitions."""
        return [TopicPartition(topic, number) for number in range(self._partitions[topic])]

    async def begins(self, *topics: str) -> dict[TopicPartition, int]:
        """Return the offset of the first record that each partition of the topics still has."""
        offsets = await self._consumer.beginning_offsets([each for topic in topics for each in self.partitions(topic)])
        return dict(offsets)

    async def ends(self, *topics: str) -> dict[TopicPartition, int]:
        """Return where the partitions of the topics end now: behind the last record that is committed."""
        offsets = await self._consumer.end_offsets([each for topic in topics for each in self.partitions(topic)])
        return dict(offsets)

    async def read(
        self, start: Offsets, end: Offsets, on_progress: Callable[[int], object] = lambda _: None
    ) -> AsyncIterator[list[Any]]:
        """Yield the records from `start` to `end`, each list of one partition and in its order. Raises LogError."""
        left = {place: start[place] for place in start if start[place] < end[place]}
        if not left:
            return
        self._consumer.assign(list(left))
        for place, offset in left.items():
            self._consumer.seek(place, offset)
        idle_ms = 0
        while left:
            fetched = await self._consumer.getmany(*left, timeout_ms=_WAIT_MS)
            for place, records in fetched.items():
                yield [record for record in records if record.offset < end[place]]
            moved = await self._advance(left, end)
            on_progress(moved)
            idle_ms = 0 if moved else idle_ms + _WAIT_MS
            if idle_ms > STALLED_S_MAX * 1000:
                named = ", ".join(f"{place.topic}/{place.partition} at {offset}" for place, offset in left.items())
                raise LogError(f"Kafka gives nothing more, though the logs go on: {named}")

    async def _advance(self, left: dict[TopicPartition, int], end: Offsets) -> int:
        """Note how far each partition is, drop those that are read, and return by how many offsets all moved."""
        moved = 0
        for place in list(left):
            position = min(await self._consumer.position(place), end[place])
            moved += position - left[place]
            left[place] = position
            if position >= end[place]:
                del left[place]
                self._consumer.pause(place)
        return moved


@asynccontextmanager
async def open_logs(settings: Settings, topics: Iterable[str]) -> AsyncIterator[Logs]:
    """Connect, and find out the topics' partitions. Raises LogError for a topic that is not there, and KafkaError."""
    partitions = await _partition_counts(settings, list(topics))
    consumer = AIOKafkaConsumer(
        **consumer_arguments(settings),
        client_id="usage-audit",
        auto_offset_reset="none",  # a record that is deleted while we read must not be stepped over
        fetch_max_bytes=2 * FETCH_BYTES_MAX,
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
    )
    try:
        await consumer.start()
        yield Logs(consumer, partitions)
    finally:
        await consumer.stop()


async def _partition_counts(settings: Settings, topics: list[str]) -> dict[str, int]:
    admin = AIOKafkaAdminClient(**kafka_arguments(settings))
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        missing = [topic for topic in topics if topic not in existing]
        if missing:
            raise LogError(f"no topic {', '.join(missing)}: is it the right Kafka? `usage topics` creates them")
        described = await admin.describe_topics(topics)
    finally:
        await admin.close()
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


def as_record(fetched: Any) -> Record:
    """Return a record as rating takes it."""
    return Record(
        fetched.topic, fetched.partition, fetched.offset, fetched.timestamp, fetched.key, fetched.value, fetched.headers
    )

"""Waiting until what was fed has gone all the way: every consumer group has committed up to the end of its topics."""

import asyncio
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC
from pipeline.settings import Settings
from pipeline.settings.clients import consumer_arguments, kafka_arguments

_POLL_S = 0.1


class NotDrained(Exception):  # noqa: N818 - says what happened
    """Something was not consumed in time; the message says what."""


async def wait_drained(settings: Settings, timeout_s: float, on_lag: Callable[[int], None] = lambda _: None) -> None:
    """Return when workers and sink have consumed all that the topics held when they were asked.

    `on_lag` is told how many records of `usage.events` and `billing.grants` are still to be rated. Raises NotDrained.
    """
    admin = AIOKafkaAdminClient(**kafka_arguments(settings))
    consumer = AIOKafkaConsumer(**consumer_arguments(settings))
    behind = "no answer from Kafka"
    try:
        async with asyncio.timeout(timeout_s):  # a client may wait for ever for a broker that was killed
            await admin.start()
            await consumer.start()
            for group, topics in (
                (settings.worker_group, (EVENTS_TOPIC, GRANTS_TOPIC)),
                (settings.sink_group, (LINES_TOPIC,)),
            ):
                ends = await consumer.end_offsets(await _partitions(admin, topics))
                while lag := _lag(ends, await _committed(admin, group)):
                    behind = f"group {group} is still {lag} records behind"
                    if group == settings.worker_group:
                        on_lag(lag)
                    await asyncio.sleep(_POLL_S)
    except TimeoutError as late:
        raise NotDrained(f"{behind} after {timeout_s:g} s") from late
    finally:
        await consumer.stop()
        await admin.close()
    on_lag(0)


async def _partitions(admin: AIOKafkaAdminClient, topics: tuple[str, ...]) -> list[TopicPartition]:
    described = await admin.describe_topics(list(topics))
    return [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in described
        for partition in topic["partitions"]
    ]


async def _committed(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    offsets = await admin.list_consumer_group_offsets(group)
    return {partition: metadata.offset for partition, metadata in offsets.items()}


def _lag(ends: Mapping[TopicPartition, int], committed: Mapping[TopicPartition, int]) -> int:
    return sum(end - max(0, committed.get(partition, 0)) for partition, end in ends.items())

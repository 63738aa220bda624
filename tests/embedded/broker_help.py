"""Clients of a broker, and what tests ask of it."""

import asyncio
import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NotLeaderForPartitionError, UnknownTopicOrPartitionError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

RECORD_BYTES_MAX = 8 << 20
GROUP_SETTINGS = {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 500, "rebalance_timeout_ms": 6_000}
PATIENCE_S = 30


def new_producer(bootstrap: str) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        enable_idempotence=True,
        acks="all",
        max_request_size=RECORD_BYTES_MAX,
        max_batch_size=1 << 20,
    )


def new_consumer(bootstrap: str, *topics: str, group: str | None = None, **settings: object) -> AIOKafkaConsumer:
    member = {"group_id": group, **GROUP_SETTINGS} if group else {}
    settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False, **member, **settings}
    return AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, **settings)


async def new_topic(admin: AIOKafkaAdminClient, partitions: int = 1, **configs: str) -> str:
    name = f"conformance-{uuid.uuid4().hex[:12]}"
    named = {key.replace("_", "."): value for key, value in configs.items()}
    answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=named)])
    assert [code for _, code, *_ in answer.topic_errors] == [0]
    return name


async def read(bootstrap: str, topic: str, count: int, partition: int = 0, **settings: object) -> list:
    """Return `count` records of one partition from its beginning."""
    consumer = new_consumer(bootstrap, **settings)
    await consumer.start()
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        records: list = []
        async with asyncio.timeout(PATIENCE_S):
            while len(records) < count:
                records += (await consumer.getmany(timeout_ms=200)).get(place, [])
        return records
    finally:
        await consumer.stop()


async def read_to(bootstrap: str, topic: str, last: int) -> list:
    """Return the records of partition 0 from its beginning to offset `last`."""
    consumer = new_consumer(bootstrap)
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        records: list = []
        async with asyncio.timeout(PATIENCE_S):
            while not records or records[-1].offset < last:
                records += (await consumer.getmany(timeout_ms=200)).get(place, [])
        return records
    finally:
        await consumer.stop()


async def end_offset(bootstrap: str, topic: str, partition: int = 0) -> int:
    consumer = new_consumer(bootstrap)
    await consumer.start()
    try:
        place = TopicPartition(topic, partition)
        return (await consumer.end_offsets([place]))[place]
    finally:
        await consumer.stop()


async def until(condition, timeout_s: float = PATIENCE_S) -> None:
    """Wait until `condition()` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 (the clients have no event to wait for)
            await asyncio.sleep(0.02)


async def describe_configs(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    (resource,) = answers[0].resources
    return {entry[0]: entry[1] for entry in resource[4]}


async def append_batch(producer: AIOKafkaProducer, topic: str, sequence: int, *values: bytes) -> tuple[int, int]:
    """Send a batch under the producer's id, numbered from `sequence`; return the broker's error code and the offset."""
    manager = producer._txn_manager
    builder = DefaultRecordBatchBuilder(2, 0, 0, manager.producer_id, manager.producer_epoch, sequence, 1 << 20)
    for number, value in enumerate(values):
        builder.append(number, 1_700_000_000_000, None, value, [])
    (node,) = producer.client.cluster.brokers()
    request = ProduceRequest(None, -1, 10_000, [(topic, [(0, bytes(builder.build()))])])
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await producer.client.send(node.nodeId, request)
            ((_, ((_, code, offset, *_),)),) = answer.topics
            if code not in {UnknownTopicOrPartitionError.errno, NotLeaderForPartitionError.errno}:
                return code, offset
            await asyncio.sleep(0.05)  # a topic just made has no leader yet

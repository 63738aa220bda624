"""Transactional clients of a broker, and requests that no well-behaved client sends."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import EndTxnRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import ConsumerRecord

from tests.embedded.broker_help import new_consumer


def new_id() -> str:
    """Return a transactional id of the test's own."""
    return f"test-{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def transactional(
    bootstrap: str, transactional_id: str, timeout_ms: int = 60_000
) -> AsyncIterator[AIOKafkaProducer]:
    """Give a started producer, which owns the transactional id from here on."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        transactional_id=transactional_id,
        transaction_timeout_ms=timeout_ms,
        max_batch_size=1 << 18,
        max_request_size=1 << 20,
    )
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def reading(
    bootstrap: str, *topics: str, isolation: str = "read_committed", wait_ms: int = 100
) -> AsyncIterator[AIOKafkaConsumer]:
    """Give a consumer of partition 0 of these topics, from their beginning, whose idle fetches wait for `wait_ms`."""
    consumer = new_consumer(bootstrap, isolation_level=isolation, fetch_max_wait_ms=wait_ms)
    await consumer.start()
    try:
        places = [TopicPartition(topic, 0) for topic in topics]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        yield consumer
    finally:
        await consumer.stop()


async def take(consumer: AIOKafkaConsumer, count: int, timeout_s: float = 8) -> list[bytes]:
    """Return the values of the next `count` records, which must come within the time."""
    values: list[bytes] = []
    async with asyncio.timeout(timeout_s):
        while len(values) < count:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                values += [record.value for record in records]
    return values


async def records_up_to(bootstrap: str, topic: str, isolation: str) -> list[ConsumerRecord]:
    """Return the records of partition 0 that a reader sees on its way to the end that it is told."""
    place = TopicPartition(topic, 0)
    async with reading(bootstrap, topic, isolation=isolation) as consumer:
        end, found = (await consumer.end_offsets([place]))[place], []
        async with asyncio.timeout(15):
            while await consumer.position(place) < end:
                found += (await consumer.getmany(timeout_ms=100)).get(place, [])
    return found


async def values_up_to(bootstrap: str, topic: str, isolation: str) -> list[bytes]:
    """Return the values of the records that `records_up_to` finds."""
    return [record.value for record in await records_up_to(bootstrap, topic, isolation)]


async def ends(bootstrap: str, topic: str) -> tuple[int, int]:
    """Return the end of partition 0 for read_committed and for read_uncommitted."""
    place = TopicPartition(topic, 0)
    found = []
    for isolation in ("read_committed", "read_uncommitted"):
        async with reading(bootstrap, topic, isolation=isolation) as consumer:
            found.append((await consumer.end_offsets([place]))[place])
    return found[0], found[1]


async def send_all(producer: AIOKafkaProducer, topic: str, values: Iterable[bytes], partition: int = 0) -> None:
    await asyncio.gather(*[await producer.send(topic, value, partition=partition) for value in values])


async def produce_raw(producer: AIOKafkaProducer, topic: str, sequence: int, value: bytes, partition: int = 0) -> int:
    """Send a transactional batch behind the producer's back, with its id and epoch; return the error code."""
    manager = producer._txn_manager
    builder = DefaultRecordBatchBuilder(2, 0, 1, manager.producer_id, manager.producer_epoch, sequence, 1 << 20)
    builder.append(0, 1_700_000_000_000, None, value, [])
    (node,) = producer.client.cluster.brokers()
    data = [(topic, [(partition, bytes(builder.build()))])]
    answer = await producer.client.send(node.nodeId, ProduceRequest(manager.transactional_id, -1, 10_000, data))
    ((_, ((_, code, *_),)),) = answer.topics
    return int(code)


async def end_raw(producer: AIOKafkaProducer, *, commit: bool) -> int:
    """Send an EndTxn behind the producer's back; return the error code. Asks again while the broker is at it."""
    manager = producer._txn_manager
    (node,) = producer.client.cluster.brokers()
    request = EndTxnRequest(manager.transactional_id, manager.producer_id, manager.producer_epoch, commit)
    while True:
        code = int((await producer.client.send(node.nodeId, request)).error_code)
        if code != 51:  # CONCURRENT_TRANSACTIONS
            return code
        await asyncio.sleep(0.02)

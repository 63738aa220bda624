"""The broker's side of a run: topics, the input in them, and what came out."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.peers.events import Message
from pipeline.stream.topics import load_topics

KEEP = {"retention.ms": "-1"}
"""The input's record times lie in the past: nothing may be taken for old."""
_BATCH_BYTES = 900_000


async def create_topics(address: str, partitions: int) -> None:
    """Create the peers' topics and ours."""
    wanted = [NewTopic(name, partitions, 1, topic_configs=KEEP) for name in ("events", "rated")]
    wanted += [NewTopic(spec.name, partitions, 1, topic_configs=spec.config | KEEP) for spec in load_topics()]
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        response = await admin.create_topics(wanted)
        assert all(error[1] == 0 for error in response.topic_errors), response.topic_errors
    finally:
        await admin.close()


async def fill(address: str, topic: str, partitions: int, messages: Iterable[Message]) -> None:
    """Send the input: a key always to the same partition, in order."""
    producer = AIOKafkaProducer(bootstrap_servers=address, max_batch_size=_BATCH_BYTES)
    await producer.start()
    batches = {number: producer.create_batch() for number in range(partitions)}
    sent: list[asyncio.Future[object]] = []
    try:
        for message in messages:
            number = int(message.key[-4:]) % partitions
            arguments = {"key": message.key, "value": message.value, "timestamp": message.timestamp_ms}
            if batches[number].append(**arguments) is None:
                sent.append(await producer.send_batch(batches[number], topic, partition=number))
                batches[number] = producer.create_batch()
                assert batches[number].append(**arguments) is not None
        for number, batch in batches.items():
            if batch.record_count():
                sent.append(await producer.send_batch(batch, topic, partition=number))
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


class Output:
    """The topic that a peer writes to."""

    def __init__(self, consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> None:
        self._consumer = consumer
        self._places = places

    async def records(self) -> int:
        """Return how many records there are."""
        return sum((await self._consumer.end_offsets(self._places)).values())

    async def fetched(self, wait_ms: int = 0) -> list[ConsumerRecord]:
        """Return the records that were not returned yet; wait for some if there are none."""
        fetched = await self._consumer.getmany(timeout_ms=wait_ms)
        return [record for records in fetched.values() for record in records]


@asynccontextmanager
async def output_of(address: str, topic: str, partitions: int) -> AsyncIterator[Output]:
    """Read a topic from its beginning while the block runs."""
    consumer = AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(places)
        yield Output(consumer, places)
    finally:
        await consumer.stop()


def charges_in(record: ConsumerRecord) -> list[int]:
    """Return the charges, in picodollars, of the rated events in a record.

    A peer's record is one JSON object. Ours has a line for each event: an array, with its columns named in the header
    `columns`, or an object.
    """
    columns = dict(record.headers).get("columns")
    place: int | str = orjson.loads(columns).index("charge_pico") if columns else "charge_pico"
    return [orjson.loads(line)[place] for line in record.value.split(b"\n")]

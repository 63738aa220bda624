"""Header names that are not UTF-8: aiokafka's parser raises, and we read past them without losing anything."""

import asyncio
from collections.abc import AsyncIterator
from itertools import chain

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline.stream.chunks import ChunkConsumer
from pipeline.stream.odd_headers import fetched_chunks
from tests.fuzz.raw import RawRecord, raw_batch, send_raw

pytestmark = pytest.mark.asyncio

PARTITIONS = 3
ODD = b"\xff\xfename\x80"


@pytest_asyncio.fixture
async def producer(any_broker: str) -> AsyncIterator[AIOKafkaProducer]:
    client = AIOKafkaProducer(bootstrap_servers=any_broker)
    await client.start()
    yield client
    await client.stop()


async def new_topic(broker: str, name: str) -> str:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    finally:
        await admin.close()
    return name


async def read_all(broker: str, topic: str, count: int, isolation: str = "read_committed") -> dict[int, list[tuple]]:
    """Read until there are `count` records, keeping account of positions as the worker does."""
    consumer = ChunkConsumer(
        bootstrap_servers=broker, isolation_level=isolation, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    consumer.assign(partitions)
    found: dict[int, list[tuple]] = {number: [] for number in range(PARTITIONS)}
    ends = dict.fromkeys(partitions, 0)
    for tp in partitions:
        consumer.seek(tp, 0)
    try:
        async with asyncio.timeout(30):
            while sum(map(len, found.values())) < count:
                for tp, chunks in (await fetched_chunks(consumer, lambda: ends, 0.2, 1)).items():
                    found[tp.partition] += [(row.offset, row.key, row.value, row.headers) for row in chain(*chunks)]
                    ends[tp] = await consumer.position(tp)
    finally:
        await consumer.stop()
    return found


async def test_who_reads_does_not_count_as_idle(any_broker: str) -> None:
    """Each read is noted as one: aiokafka's coordinator makes a member leave that seems not to read."""
    topic = await new_topic(any_broker, "odd-headers-idle")
    consumer = ChunkConsumer(bootstrap_servers=any_broker, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    began = consumer._subscription._last_fetch_ended

    await fetched_chunks(consumer, lambda: {TopicPartition(topic, 0): 0}, 0.05, 1)

    assert consumer._subscription._last_fetch_ended > began
    await consumer.stop()


async def test_the_ordinary_parser_raises(any_broker: str, producer: AIOKafkaProducer) -> None:
    """If aiokafka reads such names one day, this module can go."""
    topic = await new_topic(any_broker, "odd-headers-raise")
    await send_raw(producer, topic, 0, raw_batch([RawRecord(1, b"k", b"v", [(ODD, b"x")])]))
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=any_broker, auto_offset_reset="earliest")
    await consumer.start()

    with pytest.raises(UnicodeDecodeError):
        await asyncio.wait_for(consumer.getone(), 20)
    await consumer.stop()


async def test_nothing_is_lost_beside_odd_names(any_broker: str, producer: AIOKafkaProducer) -> None:
    """Records before, between and after, of that partition and of others, come once each, in order, with their headers."""
    topic = await new_topic(any_broker, "odd-headers-order")
    wanted: dict[int, list[tuple]] = {number: [] for number in range(PARTITIONS)}
    for step in range(12):
        for number in range(PARTITIONS):
            rows = [RawRecord(1, b"k", b"%d-%d" % (step, at), [(b"plain", b"p")]) for at in range(5)]
            if (step + number) % 4 == 0 and number != 1:
                rows[2] = RawRecord(1, None, b"odd-%d" % step, [(b"plain", None), (ODD, b"\xff"), (b"\xc3\xbc", b"")])
            first = await send_raw(producer, topic, number, raw_batch(rows, compression=step % 5))
            for at, row in enumerate(rows):
                names = tuple((name.decode(errors="replace"), value) for name, value in row.headers)
                wanted[number].append((first + at, row.key, row.value, names))

    found = await read_all(any_broker, topic, 12 * 5 * PARTITIONS)

    assert found == wanted
    assert any("\ufffd\ufffdname\ufffd" in dict(headers) for *_, headers in found[0])


async def test_an_aborted_transaction_stays_unread(any_broker: str, producer: AIOKafkaProducer) -> None:
    """What is read leniently is read committed: records of an aborted transaction and control records are left out."""
    topic = await new_topic(any_broker, "odd-headers-aborted")
    writer = AIOKafkaProducer(bootstrap_servers=any_broker, transactional_id="odd-headers-aborted")
    await writer.start()
    try:
        await writer.begin_transaction()
        await writer.send_and_wait(topic, b"aborted", partition=0)
        await writer.abort_transaction()
        await send_raw(producer, topic, 0, raw_batch([RawRecord(1, b"k", b"odd", [(ODD, b"")])]))
        await writer.begin_transaction()
        await writer.send_and_wait(topic, b"committed", partition=0)
        await writer.commit_transaction()
    finally:
        await writer.stop()

    found = await read_all(any_broker, topic, 2)

    assert [value for _, _, value, _ in found[0]] == [b"odd", b"committed"]

"""What the pipeline needs of a Kafka protocol broker: the embedded one has it, and Apache Kafka (`make kafka`)."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import MessageSizeTooLargeError, OutOfOrderSequenceNumber, TopicAlreadyExistsError
from aiokafka.structs import OffsetAndMetadata

from tests.embedded.broker_help import (
    PATIENCE_S,
    RECORD_BYTES_MAX,
    append_batch,
    describe_configs,
    end_offset,
    new_consumer,
    new_producer,
    new_topic,
    read,
    until,
)

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def producer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    client = new_producer(bootstrap)
    await client.start()
    yield client
    await client.stop()


async def test_keeps_what_a_record_carries(bootstrap, admin, producer):
    """Key, value, headers and the producer's own timestamp come back as they were sent."""
    topic = await new_topic(admin)
    headers = [("content-type", b"application/cloudevents+json"), ("x-usage-import", b"offline"), ("empty", b"")]

    sent = await producer.send_and_wait(
        topic, b"v\x00\xff", key=b"acme", timestamp_ms=1_700_000_000_123, headers=headers
    )
    (record,) = await read(bootstrap, topic, 1)

    assert (sent.offset, sent.timestamp) == (0, 1_700_000_000_123)
    assert (record.key, record.value, record.timestamp, record.timestamp_type) == (
        b"acme",
        b"v\x00\xff",
        1_700_000_000_123,
        0,
    )
    assert list(record.headers) == headers


async def test_keeps_null_keys_tombstones_and_empty_values_apart(bootstrap, admin, producer):
    """A missing key, a missing value and an empty value are three different things."""
    topic = await new_topic(admin)

    for key, value in ((None, b"x"), (b"k", None), (b"k", b""), (b"", b"y")):
        await producer.send_and_wait(topic, value, key=key)

    assert [(r.key, r.value) for r in await read(bootstrap, topic, 4)] == [
        (None, b"x"),
        (b"k", None),
        (b"k", b""),
        (b"", b"y"),
    ]


async def test_a_batch_takes_consecutive_offsets(bootstrap, admin, producer):
    """A batch of 500 records is appended whole, and the end offset counts its records, not its batches."""
    topic = await new_topic(admin)
    await producer.send_and_wait(topic, b"before")
    batch = producer.create_batch()
    for number in range(500):
        assert batch.append(key=b"k%d" % number, value=b"v" * 50, timestamp=1_700_000_000_000 + number) is not None
    batch.close()

    sent = await (await producer.send_batch(batch, topic, partition=0))
    records = await read(bootstrap, topic, 501)

    assert sent.offset == 1
    assert [r.offset for r in records] == list(range(501))
    assert records[-1].timestamp == 1_700_000_000_499
    assert await end_offset(bootstrap, topic) == 501


async def test_many_concurrent_sends_keep_their_order(bootstrap, admin, producer):
    """2,000 unawaited idempotent sends arrive once each and in order."""
    topic = await new_topic(admin)

    acks = [await producer.send(topic, b"%d" % number, partition=0) for number in range(2_000)]
    offsets = [ack.offset for ack in await asyncio.gather(*acks)]

    assert offsets == list(range(2_000))
    assert [int(r.value) for r in await read(bootstrap, topic, 2_000)] == list(range(2_000))


async def test_a_repeated_batch_is_kept_once(bootstrap, admin, producer):
    """A batch sent again under its sequence number gets its first offset again and no place; a gap is refused."""
    topic = await new_topic(admin)

    first = await append_batch(producer, topic, 0, b"a", b"b", b"c")
    second = await append_batch(producer, topic, 3, b"d")
    again = [await append_batch(producer, topic, 0, b"a", b"b", b"c"), await append_batch(producer, topic, 3, b"d")]
    gap, _ = await append_batch(producer, topic, 5, b"f")

    assert [first, second] == again == [(0, 0), (0, 3)]
    assert gap == OutOfOrderSequenceNumber.errno
    assert [r.value for r in await read(bootstrap, topic, 4)] == [b"a", b"b", b"c", b"d"]
    assert await end_offset(bootstrap, topic) == 4


async def test_a_compressed_batch_counts_its_records(bootstrap, admin):
    """A batch that the producer compressed is kept as it is, and the end offset counts the records in it."""
    topic = await new_topic(admin)
    client = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type="gzip", linger_ms=20, acks="all")
    await client.start()

    acks = [await client.send(topic, b"x" * 1000, partition=0) for _ in range(100)]
    await asyncio.gather(*acks)
    await client.stop()

    assert len(await read(bootstrap, topic, 100)) == 100
    assert await end_offset(bootstrap, topic) == 100


async def test_takes_a_record_of_5_mb(bootstrap, admin, producer):
    """A topic that allows it takes a record of 5 MB, which a consumer with a smaller fetch size still gets."""
    topic = await new_topic(admin, max_message_bytes=str(RECORD_BYTES_MAX))
    value = os.urandom(5_000_000)

    await producer.send_and_wait(topic, value)

    assert (await read(bootstrap, topic, 1, max_partition_fetch_bytes=1 << 20))[0].value == value


async def test_keeps_topic_configs(admin):
    """Settings given at creation are in force and described; creating a topic again says that it exists."""
    wanted = {"cleanup.policy": "compact", "retention.ms": "-1", "max.message.bytes": "8388608"}
    topic = await new_topic(admin, 3, **{key.replace(".", "_"): value for key, value in wanted.items()})

    described = await describe_configs(admin, topic)
    metadata = await admin.describe_topics([topic])
    again = await create_again(admin, topic)

    assert {key: described[key] for key in wanted} == wanted
    assert len(metadata[0]["partitions"]) == 3
    assert again == TopicAlreadyExistsError.errno


async def create_again(admin: AIOKafkaAdminClient, topic: str) -> int:
    try:
        answer = await admin.create_topics([NewTopic(topic, 1, 1)])
    except TopicAlreadyExistsError as failure:
        return failure.errno
    return answer.topic_errors[0][1]


async def test_finds_offsets_by_time(bootstrap, admin, producer):
    """The first record at or after a time is found; after the last one there is none."""
    topic = await new_topic(admin)
    for number in range(5):
        await producer.send_and_wait(topic, b"x", timestamp_ms=1_700_000_000_000 + number * 1000)
    consumer = new_consumer(bootstrap)
    await consumer.start()
    place = TopicPartition(topic, 0)

    exact = await consumer.offsets_for_times({place: 1_700_000_002_000})
    between = await consumer.offsets_for_times({place: 1_700_000_002_001})
    after = await consumer.offsets_for_times({place: 1_800_000_000_000})
    await consumer.stop()

    assert (exact[place].offset, exact[place].timestamp) == (2, 1_700_000_002_000)
    assert between[place].offset == 3
    assert after[place] is None


async def test_an_idle_fetch_waits_and_wakes(bootstrap, admin, producer):
    """A fetch on an empty partition returns soon after a record arrives, not at its longest wait."""
    topic = await new_topic(admin)
    consumer = new_consumer(bootstrap, fetch_max_wait_ms=30_000)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    waiting = asyncio.create_task(consumer.getone())
    await asyncio.sleep(0.3)  # let the fetch reach the broker

    await producer.send_and_wait(topic, b"x")
    record = await asyncio.wait_for(waiting, 15)
    await consumer.stop()

    assert record.value == b"x"


async def test_an_offset_beyond_the_log_is_reset(bootstrap, admin, producer):
    """A consumer at an offset that the log does not have is told so and begins where its policy says."""
    topic = await new_topic(admin)
    await producer.send_and_wait(topic, b"only")
    consumer = new_consumer(bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    consumer.seek(place, 1_000)

    record = await asyncio.wait_for(consumer.getone(), PATIENCE_S)
    await consumer.stop()

    assert record.offset == 0


async def test_commits_offsets_with_metadata(bootstrap, admin, producer):
    """A committed offset and its metadata are what the next member of the group begins with."""
    topic, group = await new_topic(admin), uuid.uuid4().hex
    for number in range(10):
        await producer.send_and_wait(topic, b"%d" % number)
    place = TopicPartition(topic, 0)
    first = new_consumer(bootstrap, topic, group=group)
    await first.start()
    await until(lambda: place in first.assignment())

    await first.commit({place: OffsetAndMetadata(7, "note")})
    await first.stop()
    second = new_consumer(bootstrap, topic, group=group)
    await second.start()
    record = await asyncio.wait_for(second.getone(), PATIENCE_S)
    committed = await second.committed(place)
    await second.stop()
    listed = await admin.list_consumer_group_offsets(group)

    assert (record.offset, committed) == (7, 7)
    assert listed[place].metadata == "note"


async def test_a_group_shares_partitions_and_takes_over(bootstrap, admin):
    """Two members share the partitions without overlap; when one leaves the other has all of them at once."""
    topic, group = await new_topic(admin, 4), uuid.uuid4().hex
    everything = {TopicPartition(topic, number) for number in range(4)}
    first, second = (new_consumer(bootstrap, topic, group=group, session_timeout_ms=60_000) for _ in range(2))
    await first.start()
    await until(lambda: first.assignment() == everything)

    await second.start()
    await until(lambda: len(first.assignment()) == len(second.assignment()) == 2)
    shared = first.assignment() | second.assignment()
    await second.stop()
    await until(lambda: first.assignment() == everything)
    await first.stop()

    assert shared == everything


async def test_a_silent_member_is_evicted(bootstrap, admin):
    """A member that stops its heartbeats loses its partitions after the session timeout, and may not commit."""
    topic, group = await new_topic(admin, 2), uuid.uuid4().hex
    everything = {TopicPartition(topic, number) for number in range(2)}
    silent, alive = (new_consumer(bootstrap, topic, group=group) for _ in range(2))
    await silent.start()
    await until(lambda: silent.assignment() == everything)
    silent._coordinator._heartbeat_task.cancel()  # it hangs: no heartbeat and no farewell

    await alive.start()
    await until(lambda: alive.assignment() == everything)
    with pytest.raises(Exception, match=r"(?i)rebalanc|member|generation"):
        await silent.commit({TopicPartition(topic, 0): 1})
    await asyncio.gather(alive.stop(), silent.stop())


@pytest.mark.parametrize("limit", ["max_partition_fetch_bytes", "fetch_max_bytes"])
async def test_a_fetch_keeps_to_its_size(bootstrap, admin, producer, limit):
    """A fetch brings no more than its limit, unless a single record is larger."""
    topic = await new_topic(admin)
    for _ in range(20):
        await producer.send_and_wait(topic, os.urandom(100_000))
    consumer = new_consumer(bootstrap, fetch_max_wait_ms=100, **{limit: 250_000})
    await consumer.start()
    place = TopicPartition(topic, 0)
    consumer.assign([place])

    first = (await consumer.getmany(place, timeout_ms=15_000))[place]
    await consumer.stop()

    assert len(first) <= 3


async def test_a_record_beyond_the_topics_limit_is_refused(admin, producer):
    """A record larger than max.message.bytes is refused with that reason, and the next one goes through."""
    topic = await new_topic(admin)

    with pytest.raises(MessageSizeTooLargeError):
        await producer.send_and_wait(topic, os.urandom(2_000_000))


async def test_a_simple_consumer_commits_without_a_group_member(bootstrap, admin, producer):
    """A consumer that assigned itself partitions commits for its group, as tools do."""
    topic, group = await new_topic(admin), uuid.uuid4().hex
    await producer.send_and_wait(topic, b"x")
    consumer = new_consumer(bootstrap, group=group)
    await consumer.start()
    place = TopicPartition(topic, 0)
    consumer.assign([place])

    await consumer.commit({place: 1})
    committed = await consumer.committed(place)
    await consumer.stop()

    assert committed == 1

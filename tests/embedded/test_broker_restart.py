"""What a stop or a crash of a broker leaves, what its clients notice, and what compaction takes away."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.embedded.broker_help import describe_configs, new_consumer, new_producer, new_topic, read, read_to
from tests.fixtures.apache_kafka import STOPPED
from tests.fixtures.brokers import on_every_broker
from tests.fixtures.servers import Server

PATIENCE_S = 60

pytestmark = [pytest.mark.asyncio, on_every_broker]


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_what_was_acknowledged_survives(new_broker: Server, way: str):
    """After SIGTERM or SIGKILL: records, topics, settings, committed offsets and a producer's sequence are there."""
    server = await new_broker.started()
    admin = AIOKafkaAdminClient(bootstrap_servers=server.address)
    await admin.start()
    topic, group = await new_topic(admin, 2, cleanup_policy="compact", retention_ms="-1"), "g"
    producer = new_producer(server.address)
    await producer.start()
    consumer = new_consumer(server.address, topic, group=group)
    await consumer.start()
    await consumer.commit({TopicPartition(topic, 0): 42})
    await consumer.stop()
    await admin.close()
    for number in range(100):
        await producer.send_and_wait(topic, b"%d" % number, key=b"k%d" % number, partition=0, headers=[("h", b"1")])

    if way == "stop":
        assert server.stop() in {0, STOPPED}
    else:
        server.kill()
    await server.started()
    await asyncio.wait_for(producer.send_and_wait(topic, b"after", key=b"k", partition=0), PATIENCE_S)
    await producer.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=server.address)
    await admin.start()
    configs = await describe_configs(admin, topic)
    committed = await committed_offset(admin, group, TopicPartition(topic, 0))
    records = await read(server.address, topic, 101)
    await admin.close()

    assert (configs["cleanup.policy"], configs["retention.ms"]) == ("compact", "-1")
    assert committed == 42
    assert [r.value for r in records] == [b"%d" % number for number in range(100)] + [b"after"]
    assert [r.offset for r in records] == list(range(101))


async def committed_offset(admin: AIOKafkaAdminClient, group: str, place: TopicPartition) -> int:
    """Return it once it is there: aiokafka takes a coordinator that is still loading for one that knows of no commit."""
    async with asyncio.timeout(PATIENCE_S):
        while not (offsets := await admin.list_consumer_group_offsets(group)):  # noqa: ASYNC110 (no event to wait for)
            await asyncio.sleep(0.1)
    return offsets[place].offset


async def test_a_consumer_lives_through_a_restart_of_the_broker(new_broker: Server):
    """Members of a group find the broker again by themselves, and go on where they were."""
    server = await new_broker.started()
    admin = AIOKafkaAdminClient(bootstrap_servers=server.address)
    await admin.start()
    topic = await new_topic(admin)
    await admin.close()
    producer, consumer = new_producer(server.address), new_consumer(server.address, topic, group="g")
    await producer.start()
    await consumer.start()
    await producer.send_and_wait(topic, b"before")
    before = await consumer.getone()
    await consumer.commit()

    server.kill()
    await server.started()
    await producer.send_and_wait(topic, b"after")
    after = await asyncio.wait_for(consumer.getone(), PATIENCE_S)
    await asyncio.gather(producer.stop(), consumer.stop())

    assert [before.value, after.value] == [b"before", b"after"]


async def test_compaction_keeps_the_last_record_of_a_key(new_broker: Server):
    """Only the last record of each key stays, a tombstone too, at the offset it always had: after a restart at the latest."""
    server = await new_broker.started()
    admin = AIOKafkaAdminClient(bootstrap_servers=server.address)
    await admin.start()
    topic = await new_topic(admin, cleanup_policy="compact", segment_ms="200", min_cleanable_dirty_ratio="0.0")
    await admin.close()
    producer = new_producer(server.address)
    await producer.start()
    for number in range(50):
        await producer.send_and_wait(topic, b"%d" % number, key=b"k%d" % (number % 5))
    await producer.send_and_wait(topic, None, key=b"k0")
    last = [*((number, b"k%d" % (number - 45), b"%d" % number) for number in range(46, 50)), (50, b"k0", None)]

    server.stop()
    await server.started()
    kept: list = []
    async with asyncio.timeout(PATIENCE_S):
        while len(kept) > 5 or not kept:  # Apache Kafka compacts in the background, all but the newest segment
            end = (await producer.send_and_wait(topic, b"", key=b"newest")).offset
            records = await read_to(server.address, topic, end)
            kept = [(record.offset, record.key, record.value) for record in records if record.key != b"newest"]
    await producer.stop()

    assert kept == last

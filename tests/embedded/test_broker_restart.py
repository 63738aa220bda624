"""What a stop or a crash of the embedded broker leaves, and what its clients notice."""

import asyncio
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.embedded.test_broker_conformance import describe_configs, new_consumer, new_producer, new_topic, read
from tests.fixtures.servers import broker_server

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_what_was_acknowledged_survives(tmp_path: Path, way: str):
    """After SIGTERM or SIGKILL: records, topics, settings, committed offsets and a producer's sequence are there."""
    server = await broker_server(tmp_path / "broker").started()
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
        assert server.stop() == 0
    else:
        server.kill()
    await server.started()
    await asyncio.wait_for(producer.send_and_wait(topic, b"after", key=b"k", partition=0), 15)
    await producer.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=server.address)
    await admin.start()
    configs = await describe_configs(admin, topic)
    offsets = await admin.list_consumer_group_offsets(group)
    records = await read(server.address, topic, 101)
    await admin.close()
    server.stop()

    assert (configs["cleanup.policy"], configs["retention.ms"]) == ("compact", "-1")
    assert offsets[TopicPartition(topic, 0)].offset == 42
    assert [r.value for r in records] == [b"%d" % number for number in range(100)] + [b"after"]
    assert [r.offset for r in records] == list(range(101))


async def test_a_consumer_lives_through_a_restart_of_the_broker(tmp_path: Path):
    """Members of a group find the broker again by themselves, and go on where they were."""
    server = await broker_server(tmp_path / "broker").started()
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
    after = await asyncio.wait_for(consumer.getone(), 20)
    await asyncio.gather(producer.stop(), consumer.stop())
    server.stop()

    assert [before.value, after.value] == [b"before", b"after"]

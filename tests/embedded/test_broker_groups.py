"""What members of a consumer group notice when the broker is killed and comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.embedded.broker_help import new_consumer, new_producer, new_topic, until
from tests.fixtures.brokers import on_every_broker
from tests.fixtures.servers import Server

pytestmark = [pytest.mark.asyncio, on_every_broker]


@asynccontextmanager
async def stopping() -> AsyncIterator[list[Any]]:
    """Give a list of clients, which are stopped in the end."""
    clients: list[Any] = []
    try:
        yield clients
    finally:
        await asyncio.gather(*(client.stop() for client in clients))


async def new_group(server: Server, clients: list[Any]) -> tuple[str, list[AIOKafkaConsumer]]:
    """Return a topic of 4 partitions and two members that share it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=server.address)
    await admin.start()
    topic = await new_topic(admin, 4)
    await admin.close()
    members = [new_consumer(server.address, topic, group="g") for _ in range(2)]
    clients += members
    for member in members:
        await member.start()
    await until(lambda: all(len(member.assignment()) == 2 for member in members))
    return topic, members


def generation_of(member: AIOKafkaConsumer) -> int:
    return int(member._coordinator.generation)


async def fall_silent(member: AIOKafkaConsumer) -> None:
    """Let a member hang: no heartbeat from here on, and no farewell."""
    await until(lambda: member._coordinator._heartbeat_task is not None)
    member._coordinator._heartbeat_task.cancel()


async def test_members_keep_their_partitions(new_broker: Server):
    """They go on reading and committing, in their generation: a restart is no rebalance."""
    server = await new_broker.started()
    async with stopping() as clients:
        topic, members = await new_group(server, clients)
        before = [(generation_of(member), member.assignment()) for member in members]
        producer = new_producer(server.address)
        clients.append(producer)
        await producer.start()

        server.kill()
        await server.started()
        for partition in range(4):
            await asyncio.wait_for(producer.send_and_wait(topic, b"x", partition=partition), 20)
        for member in members:
            for _ in range(2):
                await asyncio.wait_for(member.getone(), 20)
            await asyncio.wait_for(member.commit(), 20)
        after = [(generation_of(member), member.assignment()) for member in members]

    assert after == before


async def test_the_first_one_back_does_not_get_everything(new_broker: Server):
    """Members that rejoin after a restart share with those who come later; who never does is fenced, and waited for."""
    server = await new_broker.started()
    async with stopping() as clients:
        topic, (silent, living) = await new_group(server, clients)
        everything = {TopicPartition(topic, number) for number in range(4)}
        generation, lost = generation_of(silent), silent.assignment()
        await fall_silent(silent)

        server.kill()
        await server.started()
        third = new_consumer(server.address, topic, group="g")
        clients.append(third)
        await third.start()
        await until(lambda: third.assignment() and living.assignment() | third.assignment() == everything, 40)
        with pytest.raises(Exception, match=r"(?i)rebalanc|member|generation"):
            await silent.commit({next(iter(lost)): 1})
        shares = [len(living.assignment()), len(third.assignment())]
        newest = generation_of(third)

    assert shares == [2, 2]
    assert newest > generation

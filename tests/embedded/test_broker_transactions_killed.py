"""Transactions over SIGKILL of the broker: at any moment they are whole or not there, and their producer can go on."""

import asyncio
import random

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import InvalidProducerEpoch, ProducerFenced

from tests.embedded.broker_help import new_topic, until
from tests.embedded.transaction_help import ends, new_id, send_all, transactional, values_up_to
from tests.fixtures.brokers import on_every_broker
from tests.fixtures.servers import Server

pytestmark = pytest.mark.asyncio
KILLS = 10
TOPICS = 3


async def topics_of(server: Server, count: int, **configs: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=server.address)
    await admin.start()
    names = [await new_topic(admin, **configs) for _ in range(count)]
    await admin.close()
    return names


def copies(number: int) -> list[bytes]:
    """Return the records of a transaction: so many that a lost or doubled one is seen."""
    return [b"%d" % number] * (1 + number % 3)


async def restart(server: Server) -> None:
    server.kill()
    await server.started()


@on_every_broker
async def test_an_open_transaction_outlives_the_broker(new_broker: Server):
    """Its producer goes on writing into it, and commits it; until then readers do not see it."""
    server = await new_broker.started()
    first, second = await topics_of(server, 2)
    async with transactional(server.address, new_id()) as producer:
        await producer.begin_transaction()
        await send_all(producer, first, [b"before1", b"before2"])

        await restart(server)
        held = await values_up_to(server.address, first, "read_committed")
        await asyncio.wait_for(send_all(producer, first, [b"after"]), 20)
        await asyncio.wait_for(send_all(producer, second, [b"other"]), 20)
        await producer.commit_transaction()

    assert held == []
    assert await values_up_to(server.address, first, "read_committed") == [b"before1", b"before2", b"after"]
    assert await values_up_to(server.address, second, "read_committed") == [b"other"]


@on_every_broker
async def test_an_epoch_outlives_the_broker(new_broker: Server):
    """A producer that was fenced before the crash is fenced after it; an open transaction is the next owner's to abort."""
    server, transactional_id = await new_broker.started(), new_id()
    (topic,) = await topics_of(server, 1)
    async with transactional(server.address, transactional_id) as zombie:
        await zombie.begin_transaction()
        async with transactional(server.address, transactional_id) as owner:
            await owner.begin_transaction()
            await owner.send_and_wait(topic, b"left open")

            await restart(server)
            with pytest.raises((ProducerFenced, InvalidProducerEpoch)):
                await asyncio.wait_for(zombie.send_and_wait(topic, b"zombie"), 20)
            async with transactional(server.address, transactional_id) as next_owner, next_owner.transaction():
                await next_owner.send_and_wait(topic, b"next")

    assert await values_up_to(server.address, topic, "read_committed") == [b"next"]


@on_every_broker
async def test_a_transaction_times_out_over_a_restart(new_broker: Server):
    """The timeout of a transaction whose producer died with the broker runs on: readers are not held back for ever."""
    server = await new_broker.started()
    (topic,) = await topics_of(server, 1)
    async with transactional(server.address, new_id(), timeout_ms=2_000) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"forgotten")

        await restart(server)
        async with asyncio.timeout(20):
            while (await ends(server.address, topic))[0] == 0:  # noqa: ASYNC110 (the broker tells nobody)
                await asyncio.sleep(0.1)

    assert await values_up_to(server.address, topic, "read_committed") == []


@pytest.mark.parametrize("seed", range(2))
async def test_a_kill_at_any_moment_leaves_whole_transactions(new_broker: Server, seed: int):
    """Transactions over three topics go on through many kills: each is in all topics or in none, once, and in order."""
    chance, server = random.Random(seed), await new_broker.started()
    topics = await topics_of(server, TOPICS)
    committed: list[int] = []
    done = asyncio.Event()

    async def write() -> None:
        async with transactional(server.address, new_id()) as producer:
            number = 0
            while not done.is_set():
                number += 1
                await producer.begin_transaction()
                for topic in topics:
                    await send_all(producer, topic, copies(number))
                if number % 5:
                    await producer.commit_transaction()
                    committed.append(number)
                else:
                    await producer.abort_transaction()

    writing = asyncio.create_task(write())
    for _ in range(KILLS):
        reached = len(committed)
        await until(lambda reached=reached: len(committed) > reached, 20)
        await asyncio.sleep(chance.random() * 0.1)
        await restart(server)
    done.set()
    await asyncio.wait_for(writing, 20)

    assert len(committed) > KILLS
    expected = [value for number in committed for value in copies(number)]
    for topic in topics:
        assert await values_up_to(server.address, topic, "read_committed") == expected

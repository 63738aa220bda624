"""Transactions of a broker, seen by real clients: all or nothing, one owner of an id, and nothing before its time."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import InvalidProducerEpoch, InvalidTxnState, ProducerFenced

from tests.embedded.broker_help import new_consumer, new_producer, new_topic
from tests.embedded.transaction_help import (
    end_raw,
    ends,
    new_id,
    produce_raw,
    reading,
    records_up_to,
    send_all,
    take,
    transactional,
    values_up_to,
)

pytestmark = pytest.mark.asyncio
FENCED = (ProducerFenced, InvalidProducerEpoch)


async def test_a_large_transaction_over_four_topics_appears_as_a_whole(bootstrap, admin):
    """Nothing of it is seen before it is committed, and all of it right after, in order."""
    topics = [await new_topic(admin) for _ in range(4)]
    values = [b"%06d" % number + b"x" * 300 for number in range(3_000)]
    async with transactional(bootstrap, new_id()) as producer, reading(bootstrap, *topics) as consumer:
        await producer.begin_transaction()
        for topic in topics:
            await send_all(producer, topic, values)
        before = [await values_up_to(bootstrap, topic, "read_committed") for topic in topics]
        uncommitted = [await values_up_to(bootstrap, topic, "read_uncommitted") for topic in topics]

        await producer.commit_transaction()
        after = await take(consumer, 4 * len(values))

    assert before == [[]] * 4
    assert uncommitted == [values] * 4
    assert sorted(after) == sorted(4 * values)
    assert [await values_up_to(bootstrap, topic, "read_committed") for topic in topics] == [values] * 4


async def test_what_is_aborted_is_never_seen(bootstrap, admin):
    """An aborted transaction is passed over by read_committed, wherever it begins to read; read_uncommitted has it."""
    topic = await new_topic(admin)
    async with transactional(bootstrap, new_id()) as producer:
        for number in range(6):
            await producer.begin_transaction()
            await send_all(producer, topic, [b"%d-%d" % (number, part) for part in range(3)])
            await (producer.commit_transaction() if number % 2 else producer.abort_transaction())

    committed = [b"%d-%d" % (number, part) for number in (1, 3, 5) for part in range(3)]
    everything = [b"%d-%d" % (number, part) for number in range(6) for part in range(3)]
    assert await values_up_to(bootstrap, topic, "read_committed") == committed
    assert await values_up_to(bootstrap, topic, "read_uncommitted") == everything
    async with reading(bootstrap, topic) as consumer:
        for offset, expected in ((1, committed), (5, committed[1:]), (8, committed[3:]), (17, committed[6:])):
            consumer.seek(TopicPartition(topic, 0), offset)
            assert await take(consumer, len(expected)) == expected


async def test_transactions_that_cross_are_told_apart(bootstrap, admin):
    """Of two producers whose records alternate in a partition, one commits and one aborts; only the first is seen."""
    topic = await new_topic(admin)
    async with transactional(bootstrap, new_id()) as one, transactional(bootstrap, new_id()) as other:
        await one.begin_transaction()
        await other.begin_transaction()
        for number in range(5):
            await one.send_and_wait(topic, b"one%d" % number, partition=0)
            await other.send_and_wait(topic, b"other%d" % number, partition=0)
        await one.abort_transaction()
        await other.commit_transaction()

    assert await values_up_to(bootstrap, topic, "read_committed") == [b"other%d" % number for number in range(5)]


async def test_an_open_transaction_holds_back_what_comes_after_it(bootstrap, admin):
    """read_committed stops at the last stable offset, also for plain records, and its end offset is that one."""
    topic, plain = await new_topic(admin), new_producer(bootstrap)
    await plain.start()
    async with transactional(bootstrap, new_id()) as producer:
        await plain.send_and_wait(topic, b"0")
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"1")
        await plain.send_and_wait(topic, b"2")
        held, seen = await ends(bootstrap, topic), await values_up_to(bootstrap, topic, "read_committed")
        await producer.commit_transaction()
    await plain.stop()

    assert (held, seen) == ((1, 3), [b"0"])
    assert await ends(bootstrap, topic) == (4, 4)
    assert await values_up_to(bootstrap, topic, "read_committed") == [b"0", b"1", b"2"]


@pytest.mark.parametrize("commits", [True, False])
async def test_a_waiting_reader_wakes_when_the_transaction_ends(bootstrap, admin, commits):
    """A fetch that waits at the last stable offset is answered when that moves, not at its longest wait."""
    topic, plain = await new_topic(admin), new_producer(bootstrap)
    await plain.start()
    async with transactional(bootstrap, new_id()) as producer, reading(bootstrap, topic, wait_ms=10_000) as consumer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"in")
        await plain.send_and_wait(topic, b"after")
        waiting = asyncio.create_task(take(consumer, 1 + commits, timeout_s=8))
        await asyncio.sleep(0.3)  # let the fetch reach the broker

        await (producer.commit_transaction() if commits else producer.abort_transaction())
        seen = await asyncio.wait_for(waiting, 4)
    await plain.stop()

    assert seen == ([b"in", b"after"] if commits else [b"after"])


async def test_a_new_owner_fences_the_old_one(bootstrap, admin):
    """Once a second producer has the id, what the first one sends, adds or commits is refused; the second goes on."""
    topic, other, transactional_id = await new_topic(admin), await new_topic(admin), new_id()
    async with transactional(bootstrap, transactional_id) as old:
        await old.begin_transaction()
        await old.send_and_wait(topic, b"left open")

        async with transactional(bootstrap, transactional_id) as new:
            late = await produce_raw(old, topic, 1, b"late")
            end = await end_raw(old, commit=True)
            with pytest.raises(FENCED):
                await old.send_and_wait(topic, b"zombie")
            with pytest.raises(FENCED):
                await old.commit_transaction()
            async with new.transaction():
                await new.send_and_wait(topic, b"new")
                late_again = await produce_raw(old, topic, 1, b"late")

    assert {late, end, late_again} == {InvalidProducerEpoch.errno}
    assert await values_up_to(bootstrap, topic, "read_committed") == [b"new"]
    assert await values_up_to(bootstrap, topic, "read_uncommitted") == [b"left open", b"new"]
    assert await ends(bootstrap, other) == (0, 0)


async def test_a_zombie_that_begins_is_fenced(bootstrap, admin):
    """A producer that begins a transaction after it lost its id fails before anything of it is written."""
    topic, transactional_id = await new_topic(admin), new_id()
    async with transactional(bootstrap, transactional_id) as old, transactional(bootstrap, transactional_id):
        await old.begin_transaction()
        with pytest.raises(FENCED):
            await old.send_and_wait(topic, b"zombie")

    assert await ends(bootstrap, topic) == (0, 0)


async def test_a_new_owner_finds_nothing_open(bootstrap, admin):
    """When a producer has started, its predecessor's transaction is aborted: the end it then asks for is the real one."""
    topic, transactional_id = await new_topic(admin), new_id()
    async with transactional(bootstrap, transactional_id) as old:
        await old.begin_transaction()
        await old.send_and_wait(topic, b"left open")
        async with transactional(bootstrap, transactional_id):
            assert await ends(bootstrap, topic) == (2, 2)
            assert await values_up_to(bootstrap, topic, "read_committed") == []


async def test_a_partition_that_was_not_added_is_refused(bootstrap, admin):
    """A transactional batch is only taken for a partition of the open transaction."""
    topic = await new_topic(admin, 2)
    async with transactional(bootstrap, new_id()) as producer:
        async with producer.transaction():
            await producer.send_and_wait(topic, b"added", partition=0)
            within = await produce_raw(producer, topic, 0, b"x", partition=1)
        async with reading(bootstrap, topic) as consumer:
            await take(consumer, 1)  # its end has reached the partition
        after = await produce_raw(producer, topic, 1, b"late", partition=0)

    assert within != 0
    assert after != 0
    assert await values_up_to(bootstrap, topic, "read_uncommitted") == [b"added"]


async def test_ending_twice_is_fine_in_the_same_way_only(bootstrap, admin):
    """A commit that is asked for again, as its answer was lost, is confirmed; an abort after it is refused."""
    topic = await new_topic(admin)
    async with transactional(bootstrap, new_id()) as producer:
        async with producer.transaction():
            await producer.send_and_wait(topic, b"x")
        again, other = await end_raw(producer, commit=True), await end_raw(producer, commit=False)

    assert (again, other) == (0, InvalidTxnState.errno)
    assert await values_up_to(bootstrap, topic, "read_committed") == [b"x"]


async def test_a_transaction_open_for_too_long_is_aborted(bootstrap, admin):
    """After its timeout readers go on without it, and its producer is fenced."""
    topic, plain = await new_topic(admin), new_producer(bootstrap)
    await plain.start()
    async with transactional(bootstrap, new_id(), timeout_ms=1_000) as producer, reading(bootstrap, topic) as consumer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"forgotten")
        await plain.send_and_wait(topic, b"after")

        seen = await take(consumer, 1, timeout_s=15)
        with pytest.raises(FENCED):
            await producer.send_and_wait(topic, b"too late")
        with pytest.raises(FENCED):
            await producer.commit_transaction()
    await plain.stop()

    assert seen == [b"after"]


async def test_offsets_are_committed_with_the_transaction(bootstrap, admin):
    """A group's offsets count when the transaction is committed, and never when it is aborted."""
    topic, group = await new_topic(admin), new_id()
    place, found = TopicPartition(topic, 0), []
    consumer = new_consumer(bootstrap, group=group)
    await consumer.start()
    consumer.assign([place])
    async with transactional(bootstrap, new_id()) as producer:
        for offset, commits in ((7, True), (8, False), (9, True)):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"%d" % offset)
            await producer.send_offsets_to_transaction({place: offset}, group)
            await (producer.commit_transaction() if commits else producer.abort_transaction())
            await reaches(consumer, place, offset if commits else 7)
            found.append(await consumer.committed(place))
    await consumer.stop()

    assert found == [7, 7, 9]


async def reaches(consumer: AIOKafkaConsumer, place: TopicPartition, offset: int) -> None:
    """Wait until an offset is committed: Apache Kafka answers when it is decided, and carries it out then."""
    async with asyncio.timeout(10):
        while await consumer.committed(place) != offset:  # noqa: ASYNC110 (the clients have no event to wait for)
            await asyncio.sleep(0.02)


async def test_compaction_leaves_what_committed_transactions_say(bootstrap, admin):
    """In a compacted topic the last committed record of each key stays, whatever was aborted after it."""
    topic = await new_topic(admin, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.01")
    rounds, last, plain = 0, {}, new_producer(bootstrap)
    await plain.start()
    await plain.send_and_wait(topic, b"first", key=b"k1")  # a producer of which nothing but its place will be left
    await plain.stop()
    async with transactional(bootstrap, new_id()) as producer:
        async with asyncio.timeout(60):
            while rounds < 60 or not await is_compacted(bootstrap, topic):
                rounds += 1
                changes = {b"k%d" % ((rounds + part) % 7): b"%d-%d" % (rounds, part) for part in range(4)}
                changes[b"positions"] = b"%d" % rounds
                await producer.begin_transaction()
                for key, value in changes.items():
                    await producer.send(topic, value, key=key, partition=0)
                await (producer.commit_transaction() if rounds % 3 else producer.abort_transaction())
                last |= changes if rounds % 3 else {}

    found = await records_up_to(bootstrap, topic, "read_committed")
    assert {record.key: record.value for record in found} == last


async def is_compacted(bootstrap: str, topic: str) -> bool:
    """Tell whether three quarters of what was written are gone."""
    found = await records_up_to(bootstrap, topic, "read_uncommitted")
    return len(found) < found[-1].offset / 4

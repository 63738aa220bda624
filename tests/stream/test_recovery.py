"""Starting again from the changelog, and stopping when that cannot be right."""

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.codec.states import POSITIONS_KEY, Positions, encode_positions
from pipeline.domain.records import EVENTS_TOPIC, STATES_TOPIC
from tests.stream.harness import Stream, places

pytestmark = pytest.mark.asyncio


async def test_a_tombstone_at_the_end_does_not_hold_it_up(stream: Stream):
    """A changelog that ends in a tombstone is read to its end, and the deleted state is gone."""
    sent = await stream.send_events(["acme"])
    partition = sent["acme"][0].partition
    await stream.send(
        STATES_TOPIC,
        b"acme",
        b'{"seq": 9, "wallet": 1, "usage.events": -1, "billing.grants": -1}',
        1,
        partition=partition,
    )
    await stream.send(STATES_TOPIC, b"acme", None, 2, partition=partition)

    worker = await stream.worker()

    assert places(await stream.lines(1)) == sent
    assert "2 state records recovered" in worker.log()


async def test_the_last_record_of_a_key_is_the_state(stream: Stream):
    """Of several records of a customer the last one counts, so the numbers go on after it."""
    for seq in (3, 4):
        state = b'{"seq": %d, "wallet": 0, "usage.events": -1, "billing.grants": -1}' % seq
        await stream.send(STATES_TOPIC, b"acme", state, seq)
    await stream.send_events(["acme"])

    await stream.worker()

    assert [line["seq"] for line in (await stream.lines(1))["acme"]] == [5]


async def test_a_state_that_cannot_be_read_stops_it(stream: Stream):
    """A changelog record that the ledger refuses ends the worker; Faust's own recovery would go on without the state."""
    await stream.send(STATES_TOPIC, b"acme", b"no JSON", 1)

    worker = stream.start_worker()

    assert await worker.ended() == 1
    assert "Expecting value" in worker.log()


async def test_positions_outside_the_log_stop_it(stream: Stream):
    """When the log does not hold what comes next, the worker says so instead of beginning anew or behind a gap."""
    await stream.send(EVENTS_TOPIC, b"acme", b"e", 1, partition=0)
    await stream.send(STATES_TOPIC, POSITIONS_KEY, encode_positions(Positions(100, 0)), 1, partition=0)

    worker = stream.start_worker()

    assert await worker.ended() == 1
    assert "usage.events/0: offset 100 is not in the log: it has lost its end" in worker.log()


async def test_goes_on_where_the_states_are(stream: Stream):
    """What the states say is done is not done again, whatever the group has committed."""
    sent = await stream.send_events(["acme"] * 5)
    done, partition = sent["acme"][1].offset + 1, sent["acme"][0].partition
    await stream.send(STATES_TOPIC, POSITIONS_KEY, encode_positions(Positions(done, 0)), 1, partition=partition)

    await stream.worker()

    assert places(await stream.lines(3)) == {"acme": sent["acme"][2:]}


async def test_states_behind_the_group_stop_it(stream: Stream):
    """When the group has committed what no state holds, the changelog has lost records: rating again would bill twice."""
    sent = await stream.send_events(["acme"] * 5)
    await commit(stream, TopicPartition(EVENTS_TOPIC, sent["acme"][0].partition), sent["acme"][2].offset)

    worker = stream.start_worker()

    assert await worker.ended() == 1
    assert "has committed offset 2, but the states in usage.states end at 0" in worker.log()


async def test_lost_records_are_skipped_when_told(stream: Stream):
    """An operator may give up what is lost: the work goes on where the group is, and the log says what was skipped."""
    sent = await stream.send_events(["acme"] * 5)
    await commit(stream, TopicPartition(EVENTS_TOPIC, sent["acme"][0].partition), sent["acme"][2].offset)

    worker = await stream.worker(worker_skip=True)

    assert places(await stream.lines(3)) == {"acme": sent["acme"][2:]}
    assert "offsets 0 to 2 are skipped" in worker.log()


async def commit(stream: Stream, tp: TopicPartition, offset: int) -> None:
    """Commit an offset in the name of the workers' group."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stream.kafka, group_id="usage-worker", enable_auto_commit=False)
    await consumer.start()
    consumer.assign([tp])
    await consumer.commit({tp: offset})
    await consumer.stop()

"""The worker as a process: what it writes, and that it keeps count over restarts, crashes and rebalances."""

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pipeline.codec.lines import COLUMNS
from pipeline.domain.records import ALERTS_TOPIC, DEAD_LETTER_TOPIC, EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC
from tests.fixtures.lines import lines_in
from tests.stream.harness import Stream, places

pytestmark = pytest.mark.asyncio

CUSTOMERS = [f"customer-{number}" for number in range(20)]


async def test_rates_both_topics_in_order(stream: Stream):
    """Each customer's events become numbered lines, and grants take effect between the right two of them."""
    await stream.worker()
    sent = await stream.send_events(CUSTOMERS * 5, timestamp_ms=1000)
    await stream.grant("customer-3", 7, 2000)
    for name, events in (await stream.send_events(CUSTOMERS * 5, timestamp_ms=3000)).items():
        sent[name] += events

    lines = await stream.lines(200)

    assert places(lines) == sent
    assert [line["wallet"] for line in lines["customer-3"]] == [0] * 5 + [7] * 5


async def test_writes_lines_as_the_sink_expects_them(stream: Stream):
    """Lines are NDJSON with a count, without a key, on the partition of their records; an alert has its customer as key."""
    await stream.worker()
    sent = await stream.send_events(["acme"] * 3)
    await stream.grant("acme", 7, 9000)

    (record,) = await stream.records(LINES_TOPIC, len)
    (alert,) = await stream.records(ALERTS_TOPIC, len)

    assert (record.key, record.partition) == (None, sent["acme"][0].partition)
    assert dict(record.headers) == {"content-type": b"application/x-ndjson", "lines": b"3", "columns": COLUMNS}
    assert [line["seq"] for line in lines_in([record])] == [1, 2, 3]
    assert (alert.key, alert.value, alert.partition) == (b"acme", b'{"wallet": 7}', record.partition)


@pytest.mark.rule("R2.3")
async def test_poison_does_not_stop_it(stream: Stream):
    """Whatever a record is, it ends in the dead letters with its place and its bytes, and what follows is rated."""
    worker = await stream.worker()
    await stream.send(EVENTS_TOPIC, None, b"bad: no key", 1, partition=0)
    await stream.send(EVENTS_TOPIC, b"acme", None, 2)
    large = b"bad" + b"\x00\xff" * (5 << 19)
    await stream.send(EVENTS_TOPIC, b"acme", large, 3, headers=[("content-type", b"text/plain"), ("other", b"x")])
    await stream.send(GRANTS_TOPIC, b"acme", b"bad grant", 4)
    await stream.send_events(["acme"])

    letters = await stream.records(DEAD_LETTER_TOPIC, lambda found: len(found) >= 3)
    await stream.lines(2)

    by_value = {letter.value: letter for letter in letters}
    headers = dict(by_value[large].headers)
    assert headers.pop("source-offset").isdigit()
    assert headers == {
        "code": b"malformed",
        "message": b"value: told to be bad",
        "source-topic": b"usage.events",
        "source-partition": b"%d" % by_value[large].partition,
        "source-timestamp": b"3",
        "content-type": b"text/plain",
    }
    assert by_value[b"bad: no key"].key is None
    assert dict(by_value[b"bad grant"].headers)["source-topic"] == b"billing.grants"
    assert worker.process.poll() is None


async def test_goes_on_after_sigterm(stream: Stream):
    """SIGTERM ends it with 0 and everything committed; the next one rates the rest, and nothing twice."""
    worker = await stream.worker()
    sent = await stream.send_events(CUSTOMERS * 10)
    await stream.lines(200)

    assert await worker.terminate() == 0
    for name, events in (await stream.send_events(CUSTOMERS * 10, timestamp_ms=5000)).items():
        sent[name] += events
    await stream.worker()
    lines = await stream.lines(400)

    assert places(lines) == sent
    written = await stream.records(LINES_TOPIC, lambda found: _count(found) >= 400)
    assert _count(written) == 400


async def test_sigterm_commits_everything_that_is_written(stream: Stream):
    """After SIGTERM the committed positions are the ends of both topics."""
    worker = await stream.worker(worker_commit_ms=60_000)
    sent = await stream.send_events(["acme"] * 7)
    await stream.grant("acme", 1, 9000)
    await stream.records(ALERTS_TOPIC, len)

    await worker.terminate()

    partition = sent["acme"][0].partition
    admin = AIOKafkaAdminClient(bootstrap_servers=stream.kafka)
    await admin.start()
    committed = await admin.list_consumer_group_offsets("usage-worker")
    await admin.close()
    assert committed[TopicPartition(EVENTS_TOPIC, partition)].offset == 7
    assert committed[TopicPartition(GRANTS_TOPIC, partition)].offset == 1


async def test_keeps_count_over_kill(stream: Stream):
    """After kill -9, again and again, every event has its one number: states were written with what they cover."""
    sent: dict[str, list] = {name: [] for name in CUSTOMERS}
    total = 0
    for life in range(3):
        worker = await stream.worker(worker_commit_ms=60_000)  # no commit ever: all is read again, and skipped
        for name, events in (await stream.send_events(CUSTOMERS * 10, timestamp_ms=1000 * (life + 1))).items():
            sent[name] += events
        total += 200
        await stream.lines(total - 150)  # somewhere in the middle of it
        worker.kill()

    await stream.worker()

    assert places(await stream.lines(total)) == sent


async def test_workers_share_the_partitions(stream: Stream):
    """A second worker takes half of the partitions, of both topics alike; when it leaves, the first has them all again."""
    first = await stream.worker()
    sent = await stream.send_events(CUSTOMERS * 5)
    await stream.lines(100)

    second = await stream.worker()
    await first.logged("worker ready", times=2)
    for name, events in (await stream.send_events(CUSTOMERS * 5, timestamp_ms=3000)).items():
        sent[name] += events
    await stream.lines(200)
    assert await second.terminate() == 0
    await first.logged("worker ready", times=3)
    for name, events in (await stream.send_events(CUSTOMERS * 5, timestamp_ms=5000)).items():
        sent[name] += events

    assert places(await stream.lines(300)) == sent
    assert "partitions [0]" in first.log() + second.log()
    assert "partitions [1]" in first.log() + second.log()


async def test_an_error_ends_it_without_a_commit(stream: Stream):
    """A fault of ours ends the worker with 1; what it could not do is not committed and says where it stands."""
    worker = await stream.worker()
    place = await stream.send(EVENTS_TOPIC, b"acme", b"crash", 1000)

    assert await worker.ended() == 1
    assert f"rating usage.events/{place.partition} offset {place.offset} failed" in worker.log()
    again = stream.start_worker()
    assert await again.ended() == 1


def _count(records: list) -> int:
    return sum(int(dict(record.headers)["lines"]) for record in records)

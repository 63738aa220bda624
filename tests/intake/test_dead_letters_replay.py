"""Dead letters on a real broker, with real workers: what is replayed counts once, however often one asks."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pipeline.codec.records import originals_of
from pipeline.domain.records import DEAD_LETTER_TOPIC, EVENTS_TOPIC, Record
from pipeline.intake.dead_letter_log import open_letters
from pipeline.intake.dead_letter_replay import Choice, ReplayError, open_replayer, replay
from pipeline.intake.dead_letters import Filter, Letter
from pipeline.rating.ledger import DeadLetter
from pipeline.settings import Settings, load_settings
from pipeline.stream.effects import dead_letter_record
from tests.fixtures.lines import lines_in
from tests.fixtures.servers import Server
from tests.stream.harness import PARTITIONS, Stream, open_stream

pytestmark = pytest.mark.asyncio

SENT_MS = 1_795_000_000_000
CATALOG = """
currency: USD
models: [{{id: m, provider: p, class: standard, input: "1", cached_input: "1", output: "1"}}]
builders: [{{id: northwind, name: Northwind Ltd}}]
apps: [{{id: helpdesk, builder: northwind}}]
customers: [{{id: {customer}, name: Acme GmbH}}]
deployments: [{{id: dep_acme, customer: {customer}, app: helpdesk}}]
plans: [{{id: team, version: 1, app: helpdesk}}]
subscriptions: [{{customer: {customer}, plan: team, version: 1, start: 2026-01-01}}]
"""


@pytest_asyncio.fixture
async def stream(new_broker: Server, tmp_path: Path) -> AsyncIterator[Stream]:
    await new_broker.started()
    async with open_stream(new_broker.address, tmp_path) as opened:
        yield opened


def event(event_id: str, **more: Any) -> dict[str, Any]:
    data = {"environment": "production", "workspace": "legal", "feature": "f", "model": "m", "unit": "document"}
    return {
        "specversion": "1.0",
        "type": "ai.usage.v1",
        "id": event_id,
        "source": "dep_acme",
        "subject": "acme",
        "time": "2026-11-18T11:00:00Z",
        "data": data,
    } | more


async def usage(kafka: str, *arguments: str) -> Any:
    """Run `usage dead-letter` and return what it prints as JSON."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline", "dead-letter", *arguments, "--kafka", kafka, "--format", "json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


BATCH_HEADERS = [
    ("content-type", b"application/cloudevents-batch+json"),
    ("x-usage-import", b"offline"),
    ("other", b"x"),
]


async def send_two_records(stream: Stream) -> list[Record]:
    """Send an event and a batch of two."""
    batch = json.dumps([event("b"), event("c")]).encode()
    single = json.dumps(event("a")).encode()
    await stream.send(EVENTS_TOPIC, b"acme", single, SENT_MS)
    await stream.send(EVENTS_TOPIC, b"acme", batch, SENT_MS + 1, headers=BATCH_HEADERS)
    found = await stream.records(EVENTS_TOPIC, lambda found: len(found) >= 2)
    return [
        Record(each.topic, each.partition, each.offset, each.timestamp, each.key, each.value, each.headers)
        for each in found
    ]


async def reject_two_records(stream: Stream) -> None:
    """Write the letters of an event and of a batch of two, as a worker writes them that does not know their customer."""
    for record in await send_two_records(stream):
        for index, original in enumerate(originals_of(record)):
            letter = dead_letter_record(DeadLetter(record, index, "unknown_customer", "subject: unknown", original))
            more = {"partition": record.partition, "headers": letter.headers}
            await stream.send(DEAD_LETTER_TOPIC, letter.key, letter.value, SENT_MS, **more)


@pytest.mark.rule("R2.3", "R6.1")
async def test_a_replay_after_the_cause_is_mended_counts_once(stream: Stream, tmp_path: Path):
    """Rejected, replayed in vain, mended, replayed, and replayed once more: each event has one line, as it would have had."""
    before, mended = tmp_path / "before.yaml", tmp_path / "mended.yaml"
    before.write_text(CATALOG.format(customer="other"))
    mended.write_text(CATALOG.format(customer="acme"))
    worker = await stream.worker(before)
    await send_two_records(stream)
    await stream.records(DEAD_LETTER_TOPIC, lambda found: len(found) >= 3)

    in_vain = await usage(stream.kafka, "replay", "--code", "unknown_customer")
    await stream.records(DEAD_LETTER_TOPIC, lambda found: len(found) >= 9)
    await worker.terminate()
    stats = await usage(stream.kafka, "stats")
    await stream.worker(mended)
    replayed = await usage(stream.kafka, "replay", "--all")
    lines = (await stream.lines(3))["acme"]
    repeated = await usage(stream.kafka, "replay", "--all")
    again = await usage(stream.kafka, "replay", "--customer", "acme", "--again")
    await stream.send(EVENTS_TOPIC, b"acme", json.dumps(event("d")).encode(), SENT_MS + 2)

    assert (in_vain["sent"], replayed["sent"], repeated["sent"], repeated["sent_before"]) == (3, 3, 0, 6)
    assert again["sent"] == 6
    assert stats["by_status"] == {"open": 3, "rejected again": 3}
    assert (stats["letters"], stats["sources"], stats["by_code"]) == (6, 6, {"unknown_customer": 6})
    assert [line["event_id"] for line in lines] == ["a", "b", "c"]
    assert [line["event_id"] for line in (await stream.lines(4))["acme"]] == ["a", "b", "c", "d"]
    assert len(lines_in(await stream.records("usage.lines", lambda found: len(lines_in(found)) >= 4))) == 4


async def test_a_replayed_record_is_what_it_was(stream: Stream):
    """Key, timestamp, partition and kept headers stay; an event of a batch goes alone, and names its letter."""
    await reject_two_records(stream)

    await usage(stream.kafka, "replay", "--source-topic", EVENTS_TOPIC)
    records = await stream.records(EVENTS_TOPIC, lambda found: len(found) >= 5)

    single, batched = records[2], records[3]
    assert [(each.key, each.partition, each.timestamp) for each in records[2:]] == [
        (b"acme", records[0].partition, SENT_MS + late) for late in (0, 1, 1)
    ]
    assert single.value == records[0].value
    assert json.loads(batched.value)["id"] == "b"
    assert dict(single.headers).keys() == {"replayed-from"}
    headers = dict(batched.headers)
    assert headers.pop("replayed-from").startswith(b"usage.dead-letter %d:" % batched.partition)
    assert headers == {"content-type": b"application/cloudevents+json", "x-usage-import": b"offline"}


async def test_a_dry_run_sends_nothing_and_now_gives_a_new_time(stream: Stream):
    """A dry run says the same as the run; `--now` leaves the old timestamp behind; positions name letters."""
    await reject_two_records(stream)
    (first, *_) = await usage(stream.kafka, "list", "--customer", "acme")

    rehearsed = await usage(stream.kafka, "replay", first["position"], "--dry-run")
    sent = await usage(stream.kafka, "replay", first["position"], "--now")
    shown = await usage(stream.kafka, "list", "--status", "replayed")
    records = await stream.records(EVENTS_TOPIC, lambda found: len(found) >= 3)

    assert rehearsed | {"dry_run": False} == sent
    assert (sent["sent"], len(records)) == (1, 3)
    assert records[2].timestamp > SENT_MS + 60_000
    assert [each["position"] for each in shown] == [first["position"]]


async def choose_all(settings: Settings) -> tuple[int, int]:
    async with open_replayer(settings, now=False) as replayer, open_letters(settings) as log:
        sent = await replay(replayer, log, await log.history(), Choice(Filter()))
        return sent.letters, sent.already


async def test_a_replay_that_dies_or_is_overtaken_leaves_nothing_half_done(stream: Stream):
    """What was sent without a commit is as if never sent; who is overtaken by another replay sends nothing more."""
    await reject_two_records(stream)
    settings = load_settings(kafka=stream.kafka, partitions=PARTITIONS)
    letters: list[Letter] = []
    async with open_letters(settings) as log:
        async for some in log.read():
            letters += some

    async with open_replayer(settings, now=False) as overtaken, open_replayer(settings, now=False) as dying:
        await dying._producer.begin_transaction()
        await dying._fill(letters)
        first = await choose_all(settings)
        with pytest.raises(ReplayError, match="another replay"):
            await overtaken.send(letters)
    second = await choose_all(settings)

    assert (first, second) == ((3, 0), (0, 3))

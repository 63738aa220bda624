"""Catalog versions come into force while real workers rate, and periods are closed."""

import json
import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog import CatalogError, canonical_document, digest_of, read_catalog
from pipeline.codec.switches import SWITCH_KEY, encode_switch
from pipeline.domain.records import CATALOG_TOPIC, CLOSINGS_TOPIC, EVENTS_TOPIC, GRANTS_TOPIC
from pipeline.published import Publication, publish, read_versions
from pipeline.settings import load_settings
from tests.stream.harness import PARTITIONS, Stream

pytestmark = pytest.mark.asyncio

TODAY = date(2026, 11, 10)
NOON_MS = 1_794_312_000_000
"""2026-11-10T12:00:00Z."""
CATALOG = """
currency: USD
platform_fee_percent: "5"
models: [{id: small, provider: openai, input: "0.25", cached_input: "0.025", output: "2.00"}MORE]
builders: [{id: northwind, name: Northwind}]
apps: [{id: docflow, builder: northwind}]
customers: [{id: acme, name: Acme}]
deployments: [{id: dep, customer: acme, app: docflow}]
plans: [{id: team, version: 1, app: docflow, prices: [{price: "PRICE"}]}]
subscriptions: [{customer: acme, plan: team, version: 1, start: 2026-01-01}]
"""


def catalog(folder: Path, name: str, more: str = "", price: str = "0.10") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(CATALOG.replace("MORE", more).replace("PRICE", price))
    return path


LARGE = ', {id: large, provider: anthropic, input: "5", cached_input: "0.5", output: "25"}'


async def put(stream: Stream, path: Path, *, dry_run: bool = False) -> Publication:
    return await publish(load_settings(kafka=stream.kafka), path, TODAY, dry_run=dry_run)


async def use(stream: Stream, numbers: Iterable[int], timestamp_ms: int = NOON_MS) -> None:
    for number in numbers:
        data = {"environment": "e", "workspace": "w", "feature": "f", "model": "small", "unit": "document"}
        event = {"specversion": "1.0", "type": "ai.usage.v1", "id": f"e{number}", "source": "dep", "subject": "acme"}
        event |= {"time": "2026-11-10T11:00:00Z", "data": data}
        await stream.send(EVENTS_TOPIC, b"acme", json.dumps(event).encode(), timestamp_ms)


def by_version(lines: dict[str, list[dict[str, Any]]]) -> list[str]:
    return [line["catalog"] for line in lines["acme"]]


@pytest.mark.rule("R10.4")
async def test_workers_switch_at_the_position_that_publishing_defines(stream: Stream, tmp_path: Path):
    """A worker without a catalog of its own takes the published one, switches in the log's order, and keeps it over a kill."""
    first, second = catalog(tmp_path, "first"), catalog(tmp_path, "second", LARGE)
    before = await put(stream, first)
    worker = await stream.worker(Path("published"))
    await use(stream, range(3))
    await stream.lines(3)
    after = await put(stream, second)
    await worker.logged(f"catalog version {after.digest} comes into force", PARTITIONS)
    worker.kill()
    await stream.worker(Path("published"))

    await use(stream, range(3, 6), time.time_ns() // 1_000_000 + 60_000)  # behind the switch, whatever the kill undid

    assert by_version(await stream.lines(6)) == [before.digest] * 3 + [after.digest] * 3
    assert (after.before, after.partitions) == (before.digest, PARTITIONS)


@pytest.mark.rule("R10.4")
async def test_a_worker_without_the_version_waits_and_says_so(stream: Stream, tmp_path: Path):
    """What lies behind the switch is not rated by another version; when the version comes, it is."""
    first, second = catalog(tmp_path, "first"), catalog(tmp_path, "second", LARGE)
    await put(stream, first)
    worker = await stream.worker(Path("published"))
    document = canonical_document(read_catalog(second)[0])
    digest = digest_of(document)
    await use(stream, [0])
    await stream.lines(1)
    for partition in range(PARTITIONS):
        await stream.send(GRANTS_TOPIC, SWITCH_KEY, encode_switch(digest), NOON_MS + 1, partition=partition)
    await worker.logged(f"waits for catalog version {digest}", PARTITIONS)
    await use(stream, [1], NOON_MS + 2)

    await stream.send(CATALOG_TOPIC, digest.encode(), document, NOON_MS, partition=0)

    assert by_version(await stream.lines(2))[1] == digest


@pytest.mark.rule("R4.3")
async def test_a_version_that_breaks_terms_is_not_published(stream: Stream, tmp_path: Path):
    """A price of a published plan version with subscribers does not change; nothing is written."""
    first = await put(stream, catalog(tmp_path, "first"))

    with pytest.raises(CatalogError, match="version 1 of team is published, has 1 subscriber and differs in prices"):
        await put(stream, catalog(tmp_path, "dearer", price="0.20"))

    assert (await read_versions(load_settings(kafka=stream.kafka))).latest == first.digest


async def test_publishing_again_changes_nothing(stream: Stream, tmp_path: Path):
    """The version in force, also from a file of other form, is not put in force again; a dry run publishes nothing."""
    path = catalog(tmp_path, "first")
    tried = await put(stream, path, dry_run=True)
    done = await put(stream, path)
    other = tmp_path / "other.yaml"
    other.write_bytes((await read_versions(load_settings(kafka=stream.kafka))).document(done.digest))

    again = await put(stream, other)

    assert tried == Publication(done.digest, None, 0)
    assert again == Publication(done.digest, done.digest, 0)


@pytest.mark.rule("R10.2", "R10.3")
async def test_a_closing_is_written_with_its_cut_off(stream: Stream, tmp_path: Path):
    """After the closing a line of the period is posted to the next; the closing names the line up to which it is frozen."""
    path = catalog(tmp_path, "first")
    done = await put(stream, path)
    await stream.worker(Path("published"))
    await use(stream, range(2))
    await stream.lines(2)
    wanted = {"type": "close", "id": "c", "customer": "acme", "app": "docflow", "period": "2026-11-01"}
    december_ms = NOON_MS + 30 * 86_400_000
    await stream.send(GRANTS_TOPIC, b"acme", json.dumps(wanted).encode(), december_ms)
    closings = await stream.records(CLOSINGS_TOPIC, lambda found: len(found) >= 1)

    await use(stream, [2], NOON_MS)
    lines = await stream.lines(3)

    closing = json.loads(closings[0].value)
    assert (closing["cut_off"], closing["catalog"]) == (2, done.digest)
    assert [line["period"] for line in lines["acme"]] == ["2026-11-01", "2026-11-01", "2026-12-01"]

"""Closings and payouts from Kafka to ClickHouse."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver.client import Client

from pipeline.domain.records import CLOSINGS_TOPIC, PAYOUTS_TOPIC
from pipeline.settings import Settings, load_settings
from pipeline.sink.facts import FactKeeper
from pipeline.stream.topics import ensure_topics
from tests.fixtures.servers import broker_server
from tests.sink.support import eventually

CLOSING = {
    "id": "close-1",
    "customer": "acme",
    "app": "helpdesk",
    "period": "2026-11-01",
    "cut_off": 7,
    "closed_at": "2026-12-04T00:00:00Z",
    "catalog": "c" * 32,
}
PAYOUT = {
    "id": "po_2026-11_northwind",
    "builder": "northwind",
    "month": "2026-11-01",
    "made_at": "2026-12-20T00:00:00Z",
    "currency": "USD",
    "earnings_pico": 10**13,
    "fee_percent_pico": 0,
    "fee_pico": 0,
    "fee_booked_pico": 0,
    "carried_in_pico": 0,
    "paid_pico": 10**13,
    "carried_out_pico": 0,
}


@pytest_asyncio.fixture
async def alone(clickhouse: str, store: Client, tmp_path: Path) -> AsyncIterator[Settings]:  # noqa: ARG001
    """Give the settings of a sink on an empty broker."""
    server = await broker_server(tmp_path / "broker").started()
    settings = load_settings(kafka=server.address, clickhouse=clickhouse, partitions=1)
    try:
        await ensure_topics(settings)
        yield settings
    finally:
        server.kill()


async def send(settings: Settings, topic: str, *values: dict[str, Any] | bytes) -> None:
    """Produce records to the one partition of a topic."""
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
        for value in values:
            body = value if isinstance(value, bytes) else orjson.dumps(value)
            await producer.send_and_wait(topic, body, key=b"acme")


@pytest.mark.asyncio
@pytest.mark.rule("R10.3", "R11.4")
async def test_the_first_of_an_id_counts_and_garbage_keeps_no_other_out(alone: Settings, store: Client) -> None:
    """What is no closing stays in Kafka; a second closing of a statement, a second payout of an id change nothing."""
    await send(alone, CLOSINGS_TOPIC, b"garbage", b"[]", CLOSING, {**CLOSING, "id": "close-2", "cut_off": 9})
    await send(alone, CLOSINGS_TOPIC, {**CLOSING, "cut_off": -1}, {**CLOSING, "customer": "zeta"})
    await send(alone, PAYOUTS_TOPIC, PAYOUT, b"\xff", {**PAYOUT, "paid_pico": 1}, {**PAYOUT, "id": "last"})

    await copied(alone, store)

    closings = store.query("SELECT customer, id, cut_off FROM usage.closings_v1 ORDER BY customer").result_rows
    assert closings == [("acme", "close-1", 7), ("zeta", "close-1", 7)]
    paid = store.query("SELECT id, toString(paid) FROM usage.payouts_v1 ORDER BY id").result_rows
    assert paid == [("last", "10"), ("po_2026-11_northwind", "10")]


@pytest.mark.asyncio
@pytest.mark.rule("R10.3")
async def test_what_is_inserted_again_changes_nothing(alone: Settings, store: Client) -> None:
    """A sink that died before it committed is followed by one that begins at the beginning."""
    await send(alone, CLOSINGS_TOPIC, CLOSING, {**CLOSING, "cut_off": 9}, {**CLOSING, "customer": "zeta"})
    await send(alone, PAYOUTS_TOPIC, {**PAYOUT, "id": "last"})
    await copied(alone, store)
    before = store.query("SELECT * FROM usage.closings_v1 ORDER BY customer").result_rows
    store.command("DELETE FROM usage.closings WHERE customer = 'zeta'")

    await copied(alone.model_copy(update={"sink_group": "another"}), store)

    assert store.query("SELECT * FROM usage.closings_v1 ORDER BY customer").result_rows == before


async def copied(settings: Settings, store: Client) -> None:
    """Run a keeper until the last closing and the last payout are in."""
    keeper = FactKeeper(settings)
    keeper.start()
    try:
        await eventually(
            lambda: store.command(
                "SELECT (SELECT count() FROM usage.closings WHERE customer = 'zeta')"
                " AND (SELECT count() FROM usage.payouts WHERE id = 'last')"
            ),
            "the last closing and the last payout",
        )
    finally:
        await keeper.stop()

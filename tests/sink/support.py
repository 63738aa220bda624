"""Lines, a feed and a running sink for the tests of the sink and of billing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from clickhouse_connect.driver.client import Client

from pipeline.domain.records import DEAD_LETTER_TOPIC
from pipeline.settings import Settings, load_settings
from pipeline.settings.clients import clickhouse_arguments
from pipeline.sink.run import LINES_TOPIC, Sink

CONFORMANCE = Path(__file__).resolve().parents[3] / "shared" / "conformance"
CASES = ("case1", "case2", "case3")
PARTITIONS = 2
PATIENCE_S = 20.0


def expected(case: str, name: str) -> list[dict[str, Any]]:
    """Return what a conformance case expects; skip the test where the cases are absent."""
    path = CONFORMANCE / case / "expected" / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    text = path.read_text()
    return json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]


def a_line(customer: str, seq: int, version: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a sound line: one document of overage for one unit of the currency, unless changed."""
    line = {
        "customer": customer,
        "seq": seq,
        "version": version,
        "event_id": f"event-{customer}-{seq}",
        "source": f"dep-{customer}",
        "time": "2026-11-03T10:22:33.123456Z",
        "posted_at": "2026-11-03T10:22:33.123456Z",
        "period": "2026-11-01",
        "late": False,
        "builder": "northwind",
        "app": "helpdesk",
        "plan": "team",
        "plan_version": 1,
        "deployment": f"dep-{customer}",
        "environment": "production",
        "workspace": "legal",
        "feature": "contract-extraction",
        "model": "gpt-5-mini",
        "class": "standard",
        "request_type": None,
        "unit": "document",
        "kind": "usage",
        "quantity": 1,
        "included": 0,
        "granted": 0,
        "overage": 1,
        "blocked": 0,
        "input_tokens": 1000,
        "cached_input_tokens": 10,
        "output_tokens": 100,
        "cost_pico": 10**12,
        "cost_charged_pico": 10**12,
        "margin_pico": 0,
        "surcharge_pico": 0,
        "charge_pico": 10**12,
        "provider_reward_pico": 10**12,
        "builder_earnings_pico": 0,
        "pools": [],
    }
    assert set(changes) <= set(line)
    return {**line, **changes}


def priced(cost_charged: int, margin: int, surcharge: int = 0) -> dict[str, int]:
    """Return the amounts of a line that follow from these three (R6.7, R6.9)."""
    return {
        "cost_pico": cost_charged,
        "cost_charged_pico": cost_charged,
        "margin_pico": margin,
        "surcharge_pico": surcharge,
        "charge_pico": cost_charged + margin + surcharge,
        "provider_reward_pico": cost_charged,
        "builder_earnings_pico": margin + surcharge,
    }


def ndjson(lines: Iterable[dict[str, Any]]) -> bytes:
    """Return lines as the value of one message."""
    return b"\n".join(json.dumps(line, ensure_ascii=False).encode() for line in lines)


def arrays(lines: Iterable[dict[str, Any]]) -> bytes:
    """Return the values of lines as the value of one message."""
    return b"\n".join(json.dumps(list(line.values()), ensure_ascii=False).encode() for line in lines)


def columns(line: dict[str, Any]) -> bytes:
    """Return the names of a line's values as the header of a message."""
    return json.dumps(list(line)).encode()


def client_of(address: str) -> Client:
    """Return a client of a test server."""
    return clickhouse_connect.get_client(**clickhouse_arguments(load_settings(clickhouse=address)))


def insert(client: Client, lines: Iterable[dict[str, Any]], **settings: Any) -> None:
    """Insert lines as the sink does, without Kafka."""
    client.raw_insert("usage.usage_lines", insert_block=ndjson(lines), fmt="JSONEachRow", settings=settings)


async def eventually(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> None:
    """Return as soon as a condition holds. Raises AssertionError when it does not in time."""
    deadline = asyncio.get_running_loop().time() + patience_s
    while not await asyncio.to_thread(condition):
        assert asyncio.get_running_loop().time() < deadline, f"not in {patience_s} s: {what}"
        await asyncio.sleep(0.02)


class Feed:
    """A broker with the topics of the sink, and what a worker and an operator do with it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._producer = AIOKafkaProducer(bootstrap_servers=address, max_request_size=1 << 24)

    async def open(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in (LINES_TOPIC, DEAD_LETTER_TOPIC)])
        await admin.close()
        await self._producer.start()

    async def close(self) -> None:
        await self._producer.stop()

    async def send(self, *lines: dict[str, Any], partition: int = 0) -> int:
        """Send one message of lines as a worker does; return its offset."""
        return await self.send_raw(arrays(lines), partition, columns(lines[0]))

    async def send_objects(self, *lines: dict[str, Any], partition: int = 0) -> int:
        """Send one message of lines as JSON objects; return its offset."""
        return await self.send_raw(ndjson(lines), partition)

    async def send_raw(self, value: bytes | None, partition: int = 0, columns: bytes | None = None) -> int:
        headers = [("content-type", b"application/x-ndjson")]
        if columns is not None:
            headers.append(("columns", columns))
        key = b"a message needs a key or a value" if value is None else None
        sent = await self._producer.send_and_wait(LINES_TOPIC, value, key=key, partition=partition, headers=headers)
        return sent.offset

    async def dead_letters(self, count: int) -> list[ConsumerRecord]:
        """Return the first dead letters, as soon as there are so many."""
        consumer = AIOKafkaConsumer(DEAD_LETTER_TOPIC, bootstrap_servers=self.address, auto_offset_reset="earliest")
        await consumer.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return [await consumer.getone() for _ in range(count)]
        finally:
            await consumer.stop()

    async def committed(self, group: str) -> dict[int, int]:
        """Return the committed offsets of a group, by partition."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            places = [TopicPartition(LINES_TOPIC, number) for number in range(PARTITIONS)]
            found = await admin.list_consumer_group_offsets(group, partitions=places)
            return {place.partition: entry.offset for place, entry in found.items() if entry.offset >= 0}
        finally:
            await admin.close()


@asynccontextmanager
async def running_sink(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """Run a sink in this process until the block ends; it is ready when the block begins."""
    ready = asyncio.Event()
    sink = Sink(settings, ready.set)
    task = asyncio.create_task(sink.run())
    try:
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            await task
        assert ready.is_set()
        yield task
    finally:
        sink.stop()
        await asyncio.wait_for(task, PATIENCE_S)

"""Markers: events whose sending and whose lines' coming into sight are both noted, for the delay in between."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from clickhouse_connect.driver.client import Client

from bench.catalogs import customer_name, deployments_of
from bench.load import START_MS, partition_of
from bench.pipelines import Pipeline
from bench.sink import client_of
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.settings.clients import kafka_arguments

MARKERS_MAX = 256
"""So many customers, after those of the load, are looked through for markers of each partition."""
MARK_S = 0.05
POLL_S = 0.03
SEEN_S_MAX = 60.0


class Markers:
    """A customer of each partition that sends an event every MARK_S."""

    def __init__(self, pipeline: Pipeline, first_customer: int) -> None:
        self._pipeline = pipeline
        partitions = pipeline.settings.partitions
        numbers = range(first_customer, first_customer + MARKERS_MAX)
        by_partition = {partition_of(customer_name(number).encode(), partitions): number for number in numbers}
        self._numbers = [by_partition[partition] for partition in range(partitions)]
        self._sent_s: dict[str, list[float]] = {customer_name(number): [] for number in self._numbers}
        self._ended = False
        self._seen_s: dict[str, list[float]] = {name: [] for name in self._sent_s}

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send while the block runs."""
        self._ended = False
        task = asyncio.create_task(self._send())
        try:
            yield
        finally:
            self._ended = True
            await task

    async def _send(self) -> None:
        while not self._ended:
            for number in self._numbers:
                sent_s = self._sent_s[customer_name(number)]
                sent_s.append(time.monotonic())
                await self._pipeline.send(_event(number, len(sent_s)))
                await asyncio.sleep(MARK_S / len(self._numbers))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look which lines can be seen while the block runs."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._watch())
            yield
            task.cancel()

    async def _watch(self) -> None:
        """Look after each commit of the sink."""
        settings = self._pipeline.settings
        admin = AIOKafkaAdminClient(**kafka_arguments(settings))
        await admin.start()
        try:
            with client_of(settings) as client:
                before: dict[TopicPartition, object] = {}
                while True:
                    committed = await admin.list_consumer_group_offsets(settings.sink_group)
                    if committed != before:
                        before = committed
                        await self._look(client)
                    await asyncio.sleep(POLL_S)
        finally:
            await admin.close()

    async def _look(self, client: Client) -> None:
        names = ", ".join(f"'{name}'" for name in self._sent_s)
        query = f"SELECT customer, max(seq) FROM usage.usage_lines WHERE customer IN ({names}) GROUP BY customer"
        result = await asyncio.to_thread(client.query, query)
        now_s = time.monotonic()
        for name, seq in result.result_rows:
            seen = self._seen_s[name]
            seen += [now_s] * (seq - len(seen))

    async def all_seen(self) -> None:
        """Wait until every line that was sent can be seen. Raises TimeoutError."""
        async with asyncio.timeout(SEEN_S_MAX):
            while any(len(self._seen_s[name]) < len(sent) for name, sent in self._sent_s.items()):  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)

    def delays(self, from_s: float, until_s: float) -> list[float]:
        """Return the delays, in seconds, of the events that were sent in a span of time."""
        return [
            seen_s - sent_s
            for name, sent in self._sent_s.items()
            for sent_s, seen_s in zip(sent, self._seen_s[name], strict=True)
            if from_s <= sent_s < until_s
        ]


def _event(customer: int, number: int) -> Record:
    name = customer_name(customer)
    event = {
        "specversion": "1.0",
        "type": "ai.usage.v1",
        "id": f"mark-{number}",
        "source": deployments_of(customer)[0][0],
        "subject": name,
        "time": "2026-11-01T00:00:00Z",
        "data": {
            "environment": "production",
            "workspace": "legal",
            "feature": "contract-extraction",
            "model": "gpt-5-mini",
            "unit": "document",
            "input_tokens": 1000,
            "output_tokens": 100,
        },
    }
    return Record(EVENTS_TOPIC, 0, 0, START_MS, name.encode(), json.dumps(event, separators=(",", ":")).encode())

"""A broker and ClickHouse with earnings to be paid."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from pipeline.catalog import load_catalog
from pipeline.cli.payouts import payouts_group
from pipeline.codec.payouts import decode_payout, encode_payout
from pipeline.domain.catalog import Catalog
from pipeline.domain.payouts import MadePayout
from pipeline.domain.records import LINES_TOPIC, PAYOUTS_TOPIC
from pipeline.settings import load_settings
from pipeline.stream.topics import ensure_topics
from tests.sink.support import a_line, insert, priced

PARTITIONS = 2
CENT = 10**10
DOLLAR = 10**12
CATALOG: dict[str, Any] = {
    "currency": "USD",
    "platform_fee_percent": "5",
    "payouts": {"hold_days": 0},
    "builders": [{"id": "northwind", "name": "Northwind Ltd"}, {"id": "brightwater"}],
    "apps": [{"id": "helpdesk", "builder": "northwind"}, {"id": "insights", "builder": "brightwater"}],
    "customers": [{"id": "acme", "name": "Acme GmbH"}],
}


def earning(
    customer: str, seq: int, pico: int, posted_at: str = "2026-09-10T10:00:00Z", **changes: Any
) -> dict[str, Any]:
    """Return a line with which a builder earns an amount."""
    return a_line(customer, seq, posted_at=posted_at, time=posted_at, **priced(CENT, pico), **changes)


def store_payouts(client: Client, payouts: Iterable[MadePayout]) -> None:
    """Put payouts into usage.payouts, each as a record of a partition of its own order."""
    rows = [json.loads(encode_payout(each)) | {"kafka_offset": place} for place, each in enumerate(payouts)]
    ndjson = b"\n".join(json.dumps(row).encode() for row in rows)
    client.raw_insert(
        "usage.payouts", insert_block=ndjson, fmt="JSONEachRow", settings={"date_time_input_format": "best_effort"}
    )


class Till:
    """Earnings in ClickHouse, the topics of payouts and lines on a broker of its own, and the commands over both."""

    def __init__(self, kafka: str, clickhouse: str, client: Client, folder: Path) -> None:
        self.settings = load_settings(kafka=kafka, clickhouse=clickhouse, partitions=PARTITIONS)
        self.client = client
        self._path = folder / "catalog.yaml"
        client.command("TRUNCATE TABLE usage.payouts")
        self.use(CATALOG)
        asyncio.run(ensure_topics(self.settings))

    def use(self, catalog: dict[str, Any]) -> None:
        """Take another catalog from now on."""
        self._path.write_text(yaml.safe_dump(catalog))

    @property
    def catalog(self) -> Catalog:
        """Return the catalog in use."""
        return load_catalog(self._path)

    def earn(self, *lines: dict[str, Any]) -> None:
        """Put lines into ClickHouse."""
        insert(self.client, lines)

    def arguments(self, *more: str) -> list[str]:
        """Return the flags that lead here."""
        return [
            *more,
            "--kafka",
            self.settings.kafka,
            "--clickhouse",
            self.settings.clickhouse,
            "--catalog",
            str(self._path),
        ]

    def run(self, *arguments: str) -> Result:
        """Run `usage payouts`."""
        return CliRunner().invoke(payouts_group, self.arguments(*arguments))

    def process(self, *arguments: str, prelude: str = "") -> subprocess.Popen[str]:
        """Start `usage payouts` as a process of its own, after some Python."""
        code = f"import pipeline.cli.payouts_make as making\n{prelude}\nfrom pipeline.cli import main\nmain()"
        return subprocess.Popen(
            [sys.executable, "-c", code, "payouts", *self.arguments(*arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def made(self) -> list[MadePayout]:
        """Return what billing.payouts holds, committed, by id."""
        return asyncio.run(self._made())

    async def _made(self) -> list[MadePayout]:
        places = [TopicPartition(PAYOUTS_TOPIC, number) for number in range(PARTITIONS)]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka, isolation_level="read_committed")
        await consumer.start()
        try:
            consumer.assign(places)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(places)
            found = []
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += [decode_payout(record.value) for record in records]
            return sorted(found, key=lambda payout: payout.id)
        finally:
            await consumer.stop()

    def bring(self) -> None:
        """Bring billing.payouts to usage.payouts, as the sink does."""
        store_payouts(self.client, self.made())

    def write(self, topic: str, value: bytes, partition: int = 0) -> None:
        """Write a record."""
        asyncio.run(self._write(topic, value, partition))

    async def _write(self, topic: str, value: bytes, partition: int) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka)
        await producer.start()
        await producer.send_and_wait(topic, value, partition=partition)
        await producer.stop()

    def lag(self) -> None:
        """Put a record into usage.lines that is not in ClickHouse."""
        self.write(LINES_TOPIC, b"[]")

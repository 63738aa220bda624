"""A rated journal on a real broker and in ClickHouse, as worker and sink leave it, for the tests of `usage audit`."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from pipeline.catalog import load_catalog
from pipeline.cli.audit import audit_command
from pipeline.codec.lines import COLUMNS, objects_of
from pipeline.codec.states import POSITIONS_KEY, Positions, encode_positions
from pipeline.domain.records import DEAD_LETTER_TOPIC, EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC, STATES_TOPIC, Record
from pipeline.rating.ledger import Effects, Ledger
from pipeline.settings import load_settings
from pipeline.stream.effects import dead_letter_record, line_record
from pipeline.stream.topics import ensure_topics
from tests.model.cases import make_case

PARTITIONS = 2
ROUND = 12
"""Source records whose lines go into one record of usage.lines."""


class Audited:
    """A broker and ClickHouse with everything that a seeded journal came to."""

    def __init__(self, kafka: str, clickhouse: str, client: Client, folder: Path) -> None:
        self.kafka = kafka
        self.clickhouse = clickhouse
        self.client = client
        self.catalog = folder / "catalog.yaml"
        self.lines: list[dict[str, Any]] = []
        """As they are in usage.lines, with their version."""
        self.records: list[list[dict[str, Any]]] = []
        """The same by record of usage.lines."""
        self.by_partition: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self.next_offsets: dict[int, int] = {}
        self.letters = 0
        self.duplicates = 0

    def feed(self, seed: int, events: int, grants_late_ms: int = 0) -> None:
        """Produce a journal and what a worker makes of it; grants may come later than their timestamps say."""
        catalog, entries = make_case(seed, events=events)
        entries.sort(key=lambda entry: entry["ts"])
        self.catalog.write_text(yaml.safe_dump(catalog, sort_keys=False))
        for entry in entries:
            entry["ts"] -= grants_late_ms * (entry["topic"] == GRANTS_TOPIC)
        asyncio.run(self._feed(entries))

    async def _feed(self, entries: list[dict[str, Any]]) -> None:
        await ensure_topics(load_settings(kafka=self.kafka, partitions=PARTITIONS))
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, max_request_size=8 << 20)
        await producer.start()
        try:
            partitions = defaultdict(list)
            for number, entry in enumerate(entries):
                record = await _produce(producer, entry, number)
                partitions[record.partition].append(record)
            for number in range(PARTITIONS):
                await self._work(producer, number, partitions[number])
        finally:
            await producer.stop()

    async def _work(self, producer: AIOKafkaProducer, partition: int, records: list[Record]) -> None:
        """Do what a worker does: rate in rounds, write lines, dead letters, states and positions."""
        ledger = Ledger(load_catalog(self.catalog))
        done = {EVENTS_TOPIC: 0, GRANTS_TOPIC: 0}
        for start in range(0, len(records), ROUND):
            for record in records[start : start + ROUND]:
                ledger.rate(record)
                done[record.topic] = record.offset + 1
            await self._write(producer, partition, ledger.take_effects())
            positions = encode_positions(Positions(events=done[EVENTS_TOPIC], grants=done[GRANTS_TOPIC]))
            await producer.send_and_wait(STATES_TOPIC, positions, key=POSITIONS_KEY, partition=partition)

    async def _write(self, producer: AIOKafkaProducer, partition: int, effects: Effects) -> None:
        self.duplicates += effects.duplicates
        self.letters += len(effects.dead_letters)
        for block in effects.blocks:
            made = line_record(block)
            sent = await producer.send_and_wait(LINES_TOPIC, made.value, headers=made.headers, partition=partition)
            self.next_offsets[partition] = sent.offset + 1
            self.records.append([json.loads(line) for line in objects_of(block.rows, COLUMNS)])
            self.lines += self.records[-1]
            self.by_partition[partition] += self.records[-1]
        for letter in effects.dead_letters:
            made = dead_letter_record(letter)
            await producer.send_and_wait(
                DEAD_LETTER_TOPIC, made.value, key=made.key, headers=made.headers, partition=partition
            )
        for changed in effects.states:
            for key, value in changed.records:
                await producer.send_and_wait(STATES_TOPIC, value, key=key, partition=partition)

    def fill(self) -> None:
        """Bring ClickHouse to what the sink makes of usage.lines."""
        for table in ("usage_lines", "sink_positions", "sink_repeats"):
            self.client.command(f"TRUNCATE TABLE usage.{table}")
        for record in self.records:  # a part each, as small inserts leave them
            self.insert(record)
        for partition, next_offset in self.next_offsets.items():
            self.client.command(
                "INSERT INTO usage.sink_positions (topic, partition, next_offset) "
                f"VALUES ('usage.lines', {partition}, {next_offset})"
            )

    def insert(self, lines: Iterable[dict[str, Any]]) -> None:
        """Insert lines."""
        block = b"\n".join(json.dumps(line, ensure_ascii=False).encode() for line in lines)
        self.client.raw_insert("usage.usage_lines", insert_block=block, fmt="JSONEachRow")

    def note_repeats(self) -> None:
        """Note that a sink may have inserted every record of usage.lines again."""
        for partition, next_offset in self.next_offsets.items():
            self.client.command(
                "INSERT INTO usage.sink_repeats (topic, partition, first_offset, next_offset) "
                f"VALUES ('usage.lines', {partition}, 0, {next_offset})"
            )

    def send(self, topic: str, value: bytes, **more: Any) -> int:
        """Produce one record; return its offset."""
        return asyncio.run(_send(self.kafka, topic, value, more))

    def letter(self, headers: dict[str, str]) -> None:
        """Produce a dead letter."""
        pairs = [(name, value.encode()) for name, value in headers.items()]
        self.send("usage.dead-letter", b"{}", key=b"acme", headers=pairs, partition=0)

    def records_of(self, partition: int) -> list[list[dict[str, Any]]]:
        """Return the lines of a partition by record of usage.lines."""
        return [record for record in self.records if record[0] in self.by_partition[partition]]

    def period(self) -> str:
        """Return the period with the most lines."""
        periods = [line["period"] for line in self.lines]
        return max(sorted(set(periods)), key=periods.count)

    def of_period(self) -> list[dict[str, Any]]:
        """Return the lines of that period."""
        period = self.period()
        return [line for line in self.lines if line["period"] == period]

    def some_line(self, seed: int = 1) -> dict[str, Any]:
        """Return a line of the period with neighbours before and behind it."""
        last = {line["customer"]: line["seq"] for line in self.lines}
        inner = [line for line in self.of_period() if 1 < line["seq"] < last[line["customer"]]]
        return random.Random(seed).choice(inner)

    def update(self, line: dict[str, Any], assignment: str) -> None:
        """Edit a line by hand, as ALTER TABLE does it: no constraint is asked."""
        self.client.command(f"ALTER TABLE usage.usage_lines UPDATE {assignment} WHERE {of(line)}", settings=_SYNC)

    def delete(self, condition: str) -> None:
        """Delete lines by hand."""
        self.client.command(f"ALTER TABLE usage.usage_lines DELETE WHERE {condition}", settings=_SYNC)

    def audit(self, *arguments: str, code: int | None = None, period: str | None = None) -> Result:
        """Run the command on the period with the most lines."""
        fixed = ["--period", period or self.period(), "--kafka", self.kafka, "--clickhouse", self.clickhouse]
        done = CliRunner().invoke(audit_command, [*fixed, "--wait", "5", *arguments])
        assert code is None or done.exit_code == code, done.output
        return done

    def checks(self, *arguments: str, code: int = 1) -> dict[str, dict[str, Any]]:
        """Return the checks of an audit that found something, by name."""
        report = json.loads(self.audit("--format", "json", "--limit", "1000", *arguments, code=code).stdout)
        return {check["check"]: check for check in report["checks"] if check["count"]}


_SYNC = {"mutations_sync": 1}


def of(line: dict[str, Any]) -> str:
    """Return the SQL condition of one line."""
    return f"customer = '{line['customer']}' AND seq = {line['seq']}"


def named(check: dict[str, Any]) -> set[tuple[str, int]]:
    """Return the lines that a check names."""
    return {(finding["customer"], finding["seq"]) for finding in check["findings"]}


async def _produce(producer: AIOKafkaProducer, entry: dict[str, Any], number: int) -> Record:
    key = None if entry["key"] is None else entry["key"].encode()
    payload = entry["payload"]
    value = None if payload is None else payload.encode(errors="surrogatepass")
    headers = [(name, text.encode()) for name, text in (entry.get("headers") or {}).items()]
    timestamp = entry["ts"] + number  # rising, so that the order of the topics is told
    sent = await producer.send_and_wait(entry["topic"], value, key=key, timestamp_ms=timestamp, headers=headers)
    return Record(entry["topic"], sent.partition, sent.offset, timestamp, key, value, tuple(headers))


async def _send(kafka: str, topic: str, value: bytes, more: dict[str, Any]) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        return (await producer.send_and_wait(topic, value, **more)).offset
    finally:
        await producer.stop()

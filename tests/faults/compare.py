"""What came out against the offline rating of what was fed: every line, alert, dead letter and balance, exactly once."""

import heapq
import json
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from clickhouse_connect.driver.client import Client

from pipeline.billing.lines import read_lines
from pipeline.codec.lines import alert_fields, line_fields
from pipeline.codec.quota import decode_quota
from pipeline.codec.states import PARTITION_KEYS, split_key
from pipeline.domain.catalog import Catalog
from pipeline.domain.quota import empty_quota, quota_record
from pipeline.domain.records import (
    ALERTS_TOPIC,
    DEAD_LETTER_TOPIC,
    EVENTS_TOPIC,
    GRANTS_TOPIC,
    LINES_TOPIC,
    QUOTA_TOPIC,
    STATES_TOPIC,
    Record,
)
from pipeline.domain.state import CustomerState
from pipeline.domain.terms import TermsIndex
from pipeline.rating.ledger import Ledger
from pipeline.rating.offline import OfflineRating
from tests.domain.world import snapshot
from tests.faults.journal import Entry
from tests.fixtures.lines import lines_in
from tests.rating.support import balances

EXAMPLES_MAX = 5
_APPLIED = {"events_applied", "grants_applied"}
"""Offsets, which an offline rating does not know."""


@dataclass
class Drift:
    """Differences by kind, such as `lines in ClickHouse: missing`, with a few examples of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, what: object) -> None:
        """Note a difference."""
        self.counts[kind] += 1
        if self.counts[kind] <= EXAMPLES_MAX:
            self.examples.setdefault(kind, []).append(str(what)[:400])

    def __bool__(self) -> bool:
        return bool(self.counts)


class Expected(NamedTuple):
    """What an offline rating makes of the logs."""

    lines: dict[tuple[str, int], dict[str, Any]]
    alerts: Counter[str]
    dead_letters: Counter[tuple[str, int, int, int | None, str]]
    states: dict[str, CustomerState]


class Logs(NamedTuple):
    """The records of all topics, as a reader of committed records sees them."""

    by_topic: dict[str, list[Any]]

    def sources(self, partitions: int) -> list[Record]:
        """Return the records of the sources, partition by partition, in the order of their timestamps, grants first."""
        merged: list[Record] = []
        for partition in range(partitions):
            events, grants = (
                [record for record in self.by_topic[topic] if record.partition == partition]
                for topic in (EVENTS_TOPIC, GRANTS_TOPIC)
            )
            # As the worker does: heads are compared, a grant goes first; timestamps may fall within a topic.
            merged += heapq.merge(
                map(_as_record, grants), map(_as_record, events), key=lambda record: record.timestamp_ms
            )
        return merged


def _as_record(record: Any) -> Record:
    return Record(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, record.headers
    )


async def read_logs(kafka: str, partitions: int) -> Logs:
    """Read every topic to its end, committed records only."""
    topics = (EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC, DEAD_LETTER_TOPIC, ALERTS_TOPIC, QUOTA_TOPIC, STATES_TOPIC)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 << 20,
    )
    await consumer.start()
    found: dict[str, list[Any]] = {topic: [] for topic in topics}
    try:
        places = [TopicPartition(topic, number) for topic in topics for number in range(partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                found[place.topic] += records
    finally:
        await consumer.stop()
    return Logs(found)


def rate_sources(catalog: Catalog, records: list[Record]) -> Expected:
    """Rate what is in the logs without Kafka."""
    rating = OfflineRating(catalog)
    expected = Expected({}, Counter(), Counter(), {})
    for record in records:
        outcome = rating.rate(record)
        for line in outcome.lines:
            expected.lines[line.customer, line.seq] = line_fields(line)
        expected.alerts.update(_text(alert_fields(alert)) for alert in outcome.alerts)
        expected.dead_letters.update(
            (record.topic, record.partition, record.offset, letter.index, letter.code)
            for letter in outcome.dead_letters
        )
        if outcome.customer is not None:
            expected.states[outcome.customer.state.customer] = outcome.customer.state
    return expected


def compare_sources(entries: list[Entry], logs: Logs, drift: Drift, given_up: int) -> None:
    """Hold the logs of the sources against what was sent: the broker loses nothing it acknowledged, and doubles nothing."""
    sent = Counter((each.topic, each.partition, each.timestamp_ms, each.key, each.value) for each in entries)
    there = Counter(
        (each.topic, each.partition, each.timestamp, each.key, each.value)
        for topic in (EVENTS_TOPIC, GRANTS_TOPIC)
        for each in logs.by_topic[topic]
    )
    missing = sent - there
    if missing.total() > given_up:
        _compare_counters("records in the source topics", sent, there, drift)
    elif there - sent:
        _compare_counters("records in the source topics", Counter(), there - sent, drift)


def compare_outputs(expected: Expected, logs: Logs, drift: Drift) -> None:
    """Hold the topics that the workers write against the offline rating."""
    lines = lines_in(logs.by_topic[LINES_TOPIC])
    for line in lines:
        for name in ("version", "catalog", "provider"):
            line.pop(name, None)
    compare_lines("lines in Kafka", expected, lines, drift)
    alerts = Counter(_text(json.loads(record.value)) for record in logs.by_topic[ALERTS_TOPIC])
    _compare_counters("alerts", expected.alerts, alerts, drift)
    letters = Counter(_letter(record) for record in logs.by_topic[DEAD_LETTER_TOPIC])
    _compare_counters("dead letters", expected.dead_letters, letters, drift)


def compare_lines(where: str, expected: Expected, found: Iterable[dict[str, Any]], drift: Drift) -> None:
    """Compare lines field by field."""
    seen: set[tuple[str, int]] = set()
    for line in found:
        name = line["customer"], line["seq"]
        if name in seen:
            drift.add(f"{where}: doubled", name)
        elif name not in expected.lines:
            drift.add(f"{where}: too many", name)
        elif expected.lines[name] != line:
            wanted = expected.lines[name]
            differing = [key for key in {**wanted, **line} if wanted.get(key) != line.get(key)]
            drift.add(f"{where}: different", f"{name}: {differing}")
        seen.add(name)
    for name in expected.lines.keys() - seen:
        drift.add(f"{where}: missing", name)


def compare_tables(expected: Expected, client: Client, drift: Drift, *, final: bool = True) -> None:
    """Hold ClickHouse against the offline rating; `final=False` counts what it stores, not what its views show."""
    compare_lines("lines in ClickHouse", expected, read_lines(client), drift)
    table = f"usage.usage_lines {'FINAL' if final else ''}"
    rows, names, gaps = client.query(
        f"SELECT count(), uniqExact((customer, seq)), (SELECT countIf(lines != last) FROM "
        f"(SELECT count() AS lines, max(seq) AS last FROM {table} GROUP BY customer)) FROM {table}"
    ).result_rows[0]
    for _ in range(rows - names):
        drift.add("rows of the table: doubled", f"{rows} rows of {names} lines")
    for _ in range(gaps if final else 0):
        drift.add("numbers of lines: gap", f"{gaps} customers")


def compare_balances(expected: Expected, catalog: Catalog, logs: Logs, partitions: int, drift: Drift) -> None:
    """Restore the states from their log, and hold them against those of the offline rating."""
    ledgers = [Ledger(catalog) for _ in range(partitions)]
    customers: dict[str, int] = {}
    last: dict[tuple[int, bytes], bytes | None] = {}
    for record in logs.by_topic[STATES_TOPIC]:
        if record.key not in PARTITION_KEYS:
            last[record.partition, record.key] = record.value
    for (partition, key), value in last.items():
        if value is not None:
            ledgers[partition].restore(key, value)
            customers[split_key(key)[0].decode()] = partition
    for name in customers.keys() - expected.states.keys():
        drift.add("balances: too many", name)
    for name, wanted in expected.states.items():
        if name not in customers:
            drift.add("balances: missing", name)
            continue
        found = ledgers[customers[name]].state_of(name)
        ours, theirs = snapshot(wanted), snapshot(found)
        differing = [field_name for field_name in ours.keys() - _APPLIED if ours[field_name] != theirs[field_name]]
        if differing:
            drift.add("balances: different", f"{name}: {sorted(differing)}")


def compare_quotas(expected: Expected, catalog: Catalog, logs: Logs, drift: Drift) -> None:
    """Hold the last quota record of each customer against what the offline rating leaves (R8.3, R9)."""
    index = TermsIndex(catalog)
    last = {record.key.decode(): decode_quota(record.value) for record in logs.by_topic[QUOTA_TOPIC]}
    for name in last.keys() - expected.states.keys():
        drift.add("quota: too many", name)
    for name, state in expected.states.items():
        wanted = quota_record(state, index)
        found = last.get(name, empty_quota(name))
        if balances(found, wanted) != balances(wanted, wanted):
            drift.add("quota: different", f"{name}: {found}, not {wanted}")


def _compare_counters(what: str, wanted: Counter[Any], found: Counter[Any], drift: Drift) -> None:
    for each in (wanted - found).elements():
        drift.add(f"{what}: missing", each)
    for each in (found - wanted).elements():
        drift.add(f"{what}: {'doubled' if each in wanted else 'too many'}", each)


def _letter(record: Any) -> Hashable:
    headers = {name: value.decode() for name, value in record.headers}
    index = int(headers["source-index"]) if "source-index" in headers else None
    place = headers["source-topic"], int(headers["source-partition"]), int(headers["source-offset"])
    return (*place, index, headers["code"])


def _text(fields_of: dict[str, Any]) -> str:
    return json.dumps(fields_of, sort_keys=True, ensure_ascii=False)

"""The journal of a round: many small worlds of one catalog and one hot customer, in the order in which they are fed."""

import heapq
import json
import re
from collections.abc import Iterator
from datetime import date
from random import Random
from typing import Any, NamedTuple

from aiokafka.partitioner import DefaultPartitioner

from pipeline.codec.records import decode_events
from pipeline.domain.events import UsageEvent
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from tests.model.case_catalog import CUSTOMERS, make_catalog
from tests.model.cases import STARTS, Journal
from tests.rating.support import reservations_before

EVENTS_A_WORLD = 30
HOT_SHARE = 0.4
"""Share of all events that the hot customer sends, in records of up to 300 events."""
REJECTS_SHARE = 0.06
RESERVED_SHARE = 0.2
"""Share of single events for which something is reserved before."""
HOT_CUSTOMER = CUSTOMERS[0]
_CUSTOMER = re.compile(r"\bacme\b|b(?:ü|\\u00fc)rger & co|\bcust-3\b|\bcust-10\b")
_DEPLOYMENT = re.compile(r"\bdep-\d-(?:helpdesk|docflow)-\d\b")


class Entry(NamedTuple):
    """One record to be fed."""

    topic: str
    partition: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Case(NamedTuple):
    """What a round is about: a catalog, and the records in the order in which they are fed."""

    catalog: dict[str, Any]
    entries: list[Entry]


class HotJournal(Journal):
    """A journal of one customer, most of it in large records."""

    def usage(self) -> None:
        """Send a record of up to 300 events."""
        texts = [self.one_event(HOT_CUSTOMER) for _ in range(self.rng.choice([1, 20, 100, 300]))]
        self.send(HOT_CUSTOMER, texts)


def make_round(seed: int, events: int, partitions: int) -> Case:
    """Return the case of a seed: about `events` events of `events / 30 * 4` customers, one of them hot."""
    rng = Random(seed)
    start = rng.choice(STARTS)
    catalog = make_catalog(rng, start)
    hot = int(events * HOT_SHARE)
    worlds = max(1, (events - hot) // EVENTS_A_WORLD)
    journals = [HotJournal(Random(f"{seed} hot"), catalog, start, REJECTS_SHARE)]
    journals += [Journal(Random(f"{seed} {number}"), catalog, start, REJECTS_SHARE) for number in range(1, worlds + 1)]
    sources = []
    for number, journal in enumerate(journals):
        wanted = hot if number == 0 else EVENTS_A_WORLD
        while journal.sent < wanted:
            journal.step(journal.sent / wanted)
        sources.append(_rising(journal.records, number))
    merged = [(record, number) for _, _, number, record in heapq.merge(*sources, key=lambda each: each[:3])]
    return Case(_catalog_of_worlds(catalog, worlds), list(_entries(merged, partitions)))


def is_one_event(value: bytes | None) -> bool:
    """Return whether a record holds one usage event and nothing that is wrong."""
    try:
        events = decode_events(Record(EVENTS_TOPIC, 0, 0, 0, None, value))
    except Rejected:
        return False
    return len(events) == 1 and isinstance(events[0], UsageEvent)


def _rising(records: list[dict[str, Any]], number: int) -> Iterator[tuple[int, int, int, dict[str, Any]]]:
    """Yield a journal's records with when each is sent: its timestamps, but never falling."""
    sent_ms = 0
    for place, record in enumerate(records):
        sent_ms = max(sent_ms, record["ts"])
        yield sent_ms, place, number, record


def _entries(merged: list[tuple[dict[str, Any], int]], partitions: int) -> Iterator[Entry]:
    """Yield records with timestamps that tell the order of the two topics (decisions/0002).

    A grant is later than all before it, an event not earlier than the last grant; else timestamps may fall.
    """
    rng = Random(len(merged))
    partitioner = DefaultPartitioner()
    everyone = list(range(partitions))
    last_ms = granted_ms = 0
    for record, number in merged:
        ts = max(record["ts"], granted_ms)
        if record["topic"] == GRANTS_TOPIC:
            granted_ms = ts = max(ts, last_ms + 1)
        last_ms = max(last_ms, ts)
        key = _renamed(record["key"], number)
        value = _renamed(record["payload"], number)
        if key is None and value is None:
            continue  # which aiokafka does not send
        raw_key = None if key is None else key.encode()
        partition = number % partitions if raw_key is None else partitioner(raw_key, everyone, everyone)
        headers = tuple((name, text.encode()) for name, text in record.get("headers", {}).items())
        raw = None if value is None else value.encode(errors="surrogatepass")
        if record["topic"] == EVENTS_TOPIC and rng.random() < RESERVED_SHARE and is_one_event(raw):
            for reservation in reservations_before(raw or b"", rng):
                yield Entry(EVENTS_TOPIC, partition, ts, raw_key, reservation, ())
        yield Entry(record["topic"], partition, ts, raw_key, raw, headers)


def _renamed(text: str | None, number: int) -> str | None:
    """Return a text of world 0 as that of another world: customers and deployments bear the world's number."""
    if text is None or number == 0 or len(text) > 1 << 19:
        return text
    text = _CUSTOMER.sub(lambda found: f"{found[0]}~{number}", text)
    return _DEPLOYMENT.sub(lambda found: f"{found[0]}~{number}", text)


def _catalog_of_worlds(catalog: dict[str, Any], worlds: int) -> dict[str, Any]:
    """Return the catalog with the customers, deployments and subscriptions of all worlds."""
    grown = dict(catalog)
    for name in ("customers", "deployments", "subscriptions"):
        rows = list(catalog[name])
        for number in range(1, worlds + 1):
            rows += [_row(row, number) for row in catalog[name] if name != "customers" or row["id"] in CUSTOMERS]
        grown[name] = rows
    grown["migrations"] = [
        row if row["customers"] == "all" else {**row, "customers": _everywhere(row["customers"], worlds)}
        for row in catalog["migrations"]
    ]
    return grown


def _row(row: dict[str, Any], number: int) -> dict[str, Any]:
    renamed = dict(row)
    for name in ("id", "customer"):
        if name in row:
            renamed[name] = _renamed(row[name], number)
    return renamed


def _everywhere(customers: list[str], worlds: int) -> list[str]:
    return customers + [f"{name}~{number}" for number in range(1, worlds + 1) for name in customers]


def catalog_text(catalog: dict[str, Any]) -> str:
    """Return a catalog as JSON, which is YAML, and is read faster."""

    def plain(value: object) -> str:
        if isinstance(value, date):
            return value.isoformat()
        raise TypeError(repr(value))

    return json.dumps(catalog, ensure_ascii=False, default=plain, indent=0)


def of_partition(entries: list[Entry], partition: int) -> list[Entry]:
    """Return a partition's entries of both topics, in order."""
    return [entry for entry in entries if entry.partition == partition]


TOPICS = (EVENTS_TOPIC, GRANTS_TOPIC)

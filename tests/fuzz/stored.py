"""Changelogs that are damaged: recovery either refuses them with an error, or rates on and keeps account."""

import json
import struct
from collections import Counter
from functools import lru_cache
from random import Random

from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.rating.ledger import Ledger
from tests.fuzz.accounts import check_effects
from tests.fuzz.journals import BASE_MS, CASE, KEYS
from tests.fuzz.mutations import Blind
from tests.model.case_events import deployments_of, make_event, moment
from tests.rating.support import play

LENGTHS = struct.Struct(">BH")
DELETED = 0xFFFF
OFFSET = 1_000_000
REFUSALS = (ValueError, KeyError)
"""A state that is refused stops the worker with the error; anything else would be a fault that nobody thought of."""
Entry = tuple[bytes, bytes | None]


def read_changelog(data: bytes) -> list[Entry]:
    """Return the keys and values in any bytes."""
    entries: list[Entry] = []
    at = 0
    while at < len(data):
        key_length, value_length = LENGTHS.unpack(data[at : at + LENGTHS.size].ljust(LENGTHS.size, b"\x00"))
        at += LENGTHS.size
        key = data[at : at + key_length]
        at += key_length
        value = None if value_length == DELETED else data[at : at + value_length]
        at += len(value or b"")
        entries.append((key, value))
    return entries


def write_changelog(entries: list[Entry]) -> bytes:
    """Return bytes that read as these entries."""
    parts = []
    for key, value in entries:
        length = DELETED if value is None else min(len(value), DELETED - 1)
        parts.append(LENGTHS.pack(min(len(key), 0xFF), length) + key[:0xFF] + (value or b"")[: DELETED - 1])
    return b"".join(parts)


@lru_cache(maxsize=1)
def _events() -> dict[str, Record]:
    """Return for each customer a record that comes after the recovery."""
    found = {}
    for key in KEYS[: len(KEYS) - 6]:
        assert key is not None
        customer = key.decode()
        deployments = [row for row in CASE.plain_catalog["deployments"] if row["customer"] == customer]
        if deployments:
            event = make_event(Random(1), 1, deployments[0], moment(BASE_MS + 20 * 86_400_000))
            event["data"] |= {"quantity": 500, "operation": "job", "cost": "1"}
            value = json.dumps([event, event, event | {"id": "again"}]).encode()
            found[customer] = Record(EVENTS_TOPIC, 0, OFFSET, BASE_MS + 21 * 86_400_000, key, value)
    return found


@lru_cache(maxsize=1)
def stored_seeds() -> list[bytes]:
    """Return changelogs of one customer each, early and late."""
    seeds = []
    for customer in _events():
        own = [record for record in CASE.records if record.key == customer.encode()]
        for count in (3, 10, len(own)):
            log = play(Ledger(CASE.catalog), [own[:count]])
            seeds.append(write_changelog(list(log.compacted().items())))
            seeds.append(write_changelog(log.changelog[-30:]))
    assert len(deployments_of(CASE.plain_catalog, "acme")) > 0
    return seeds


def check_restored(data: bytes) -> Counter[str]:
    """Recover, then rate: a state is refused, or whoever is rated is accounted for."""
    ledger = Ledger(CASE.catalog)
    counts: Counter[str] = Counter()
    for key, value in read_changelog(data):
        counts["records"] += 1
        try:
            ledger.restore(key, value)
        except REFUSALS:
            counts["refused keys"] += 1
    for record in _events().values():
        try:
            ledger.rate(record)
        except REFUSALS:
            counts["refused states"] += 1
            continue
        effects = ledger.take_effects()
        if effects.events:
            check_effects(record, effects)
        counts["lines"] += effects.lines
    return counts


def mutate_stored(data: bytes, size_max: int, rng: Random, blind: Blind) -> bytes:
    """Return a changelog with one entry changed."""
    entries = read_changelog(data)
    if not entries or rng.random() < 0.1:
        return blind(data, size_max)
    at = rng.randrange(len(entries))
    key, value = entries[at]
    form = rng.random()
    if form < 0.6:
        entries[at] = (key, blind(value or b"{}", 4096))
    elif form < 0.8:
        entries[at] = (blind(key or b"\x00", 0xFF), value)
    elif form < 0.9:
        del entries[at]
    else:
        entries.append((key, rng.choice([None, b"", entries[rng.randrange(len(entries))][1]])))
    result = write_changelog(entries)
    return result if len(result) <= size_max else blind(data, size_max)

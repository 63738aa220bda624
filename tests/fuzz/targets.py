"""What is fuzzed: each target takes any bytes, checks what must hold, and says what they came to.

An exception that leaves a target is a finding.
"""

import json
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from pipeline.codec.journal import parse_journal_line
from pipeline.codec.records import decode_events, decode_grant, originals_of
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.domain.rejects import CODES, Rejected
from tests.codec.reference import found, found_by_reference
from tests.fuzz.accounts import check_agent
from tests.fuzz.journals import (
    BASE_MS,
    CASE,
    HEADERS,
    ODD_TIMES_MS,
    PLAIN_HEADERS,
    read_journal,
    write_journal,
)
from tests.fuzz.mutations import FRESH_SHARE, Blind, mutate_journal, mutate_json
from tests.fuzz.plain import comparable, compare_event, compare_grant, compare_journal
from tests.fuzz.stored import check_restored, mutate_stored, stored_seeds

EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"
PIECE = 5
"""Records of a seed: few, since small inputs are fast and fuzzers put them together."""
BULK_MARK = b"\xfe"
"""Stands in no UTF-8."""
BULK_BYTES = 1 << 16
BULK_TOKENS = [
    b'"',
    b"\\",
    b'\\"',
    b"[",
    b"]",
    b"{",
    b"}",
    b":",
    b",",
    b" ",
    b"NaN",
    b'{"a":1,"a":1}',
    b"9",
    b".",
    b"e",
    b"\xc3\xbc",
]
JOURNAL_FORMS = [b"null", b"[]", b'"\\ud800"', b"[" * 200_000, b'{"topic":"usage.events"}', b"\xff", b"9" * 5000]


class Target(NamedTuple):
    """What is fuzzed, from which seeds, and how bytes are changed so that they keep some of their form."""

    run: Callable[[bytes], Counter[str]]
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[bytes, int, Random, Blind], bytes]


def check_records(data: bytes) -> Counter[str]:
    """Decode a record of usage.events: the first byte chooses headers, the second a timestamp."""
    headers, time = data[:1] or b"\x00", data[1:2] or b"\x00"
    times = [BASE_MS, *ODD_TIMES_MS]
    record = Record(EVENTS_TOPIC, 0, 0, times[time[0] % len(times)], b"acme", data[2:], _headers(headers[0]))
    counts = Counter(records=1)
    try:
        decoded = decode_events(record)
    except Rejected as rejected:
        _check_reject(rejected)
        counts[f"reject {rejected.code}"] += 1
        compare_event(record, rejected.code)
        return counts
    codes = []
    for each in decoded:
        codes.append(each.code if isinstance(each, Rejected) else None)
        if isinstance(each, Rejected):
            _check_reject(each)
        counts[f"reject {each.code}" if isinstance(each, Rejected) else "sound"] += 1
    parts = originals_of(record)
    assert len(parts) == len(decoded)
    for part, each in zip(parts, decoded, strict=True):
        assert part in data
        (alone,) = decode_events(record._replace(value=b"[%b]" % part, headers=()))
        assert found(alone) == found(each), "an event alone is another than in its batch"
    assert [found(each) for each in decoded] == found_by_reference(record), "the fast decoder finds other events"
    compare_event(record, codes)
    return counts


def _headers(index: int) -> Any:
    return HEADERS[index % len(HEADERS)]


def _check_reject(rejected: Rejected) -> None:
    assert rejected.code in CODES
    assert len(rejected.message.splitlines()) == 1, rejected.message
    assert len(rejected.message) < 500


def check_bulk(data: bytes) -> Counter[str]:
    """Decode a record that says one thing very often: what takes more than linear time takes too long.

    The bytes are a head, what is repeated, and a tail, with BULK_MARK between them.
    """
    head, _, rest = data.partition(BULK_MARK)
    piece, _, tail = rest.partition(BULK_MARK)
    value = head + piece * (BULK_BYTES // len(piece) if piece else 0) + tail
    record = Record(EVENTS_TOPIC, 0, 0, BASE_MS, b"acme", value)
    try:
        decoded = decode_events(record)
    except Rejected as rejected:
        _check_reject(rejected)
        return Counter({"records": 1, f"reject {rejected.code}": 1})
    assert len(originals_of(record)) == len(decoded)
    return Counter(records=1, sound=1)


def check_grants(data: bytes) -> Counter[str]:
    """Decode a record of billing.grants."""
    record = Record(GRANTS_TOPIC, 0, 0, BASE_MS, b"acme", data)
    try:
        decode_grant(record)
        code = None
    except Rejected as rejected:
        _check_reject(rejected)
        code = rejected.code
    compare_grant(record, code)
    return Counter({"records": 1, "sound" if code is None else f"reject {code}": 1})


def check_journal(data: bytes) -> Counter[str]:
    """Read a line of a journal: it is a record, or an error that says what is wrong; a record written again is the same."""
    try:
        record = parse_journal_line(data)
    except ValueError:
        return Counter({"records": 1, "not a record": 1})
    assert all(type(number) is int for number in record[1:4])
    entry = {"topic": record.topic, "partition": record.partition, "offset": record.offset, "ts": record.timestamp_ms}
    entry |= {"key": _text(record.key), "payload": _text(record.value)}
    entry["headers"] = [text for name, value in record.headers for text in (name, _text(value))]
    line = json.dumps(entry, ensure_ascii=False).encode(errors="surrogateescape")
    assert parse_journal_line(line) == record
    return Counter({"records": 1, "a record": 1})


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="surrogateescape")


def check_agent_journal(data: bytes) -> Counter[str]:
    """Rate a journal as the worker does."""
    return check_agent(CASE.catalog, read_journal(data))


def check_model_journal(data: bytes) -> Counter[str]:
    """Rate a journal, as far as the naive model follows, and compare with it."""
    records = [record for record in read_journal(data) if comparable(record)]
    return compare_journal(CASE.plain_catalog, CASE.catalog, records)


@lru_cache(maxsize=1)
def journal_seeds() -> list[bytes]:
    """Return pieces of the case's journal: neighbours, and what one customer sent."""
    records = CASE.records
    pieces = [records[at : at + PIECE] for at in range(0, len(records), PIECE)]
    for key in sorted({record.key for record in records if record.key}):
        own = [record for record in records if record.key == key]
        pieces += [own[at : at + PIECE] for at in range(0, len(own), PIECE)]
    return [write_journal(record for record in piece if len(record.value or b"") < 3000) for piece in pieces]


@lru_cache(maxsize=1)
def record_seeds() -> list[bytes]:
    """Return values of usage.events with bytes that choose headers and timestamp."""
    values = [path.read_bytes() for path in sorted((EXAMPLES / "usage.events").iterdir())]
    values += [record.value for record in CASE.records if record.topic == EVENTS_TOPIC and record.value]
    return [bytes([at % PLAIN_HEADERS, 0]) + value for at, value in enumerate(values) if len(value) < 5000]


@lru_cache(maxsize=1)
def grant_seeds() -> list[bytes]:
    """Return values of billing.grants."""
    values = [path.read_bytes() for path in sorted((EXAMPLES / "billing.grants").iterdir())]
    return values + [record.value for record in CASE.records if record.topic == GRANTS_TOPIC and record.value]


def bulk_seeds() -> list[bytes]:
    """Return heads, pieces and tails, most of which make JSON, or make it but for the end."""
    parts = [
        (b'{"', b'\\"', b'": 1}'), (b'{"', b"\\\\", b'":NaN}'), (b"[", b'{"a":1,"a":1},', b"0]"), (b"[NaN", b",0", b"]"),
        (b'{"a":', b"9", b"}"), (b'{"a":1.', b"0", b"}"), (b'["', b'\\" :', b'"]'), (b"[[", b"[],", b"0]]"), (b"", b" ", b"[1]"),
        (b'{"a":[', b'"\\ud800",', b"0]}"), (b'{"a":"', b'":1,"a', b'":1}'), (b"{", b'"', b"}"), (b"[[[[", b"NaN,", b"1]]]]"),
    ]  # fmt: skip
    return [BULK_MARK.join(each) for each in parts]


@lru_cache(maxsize=1)
def line_seeds() -> list[bytes]:
    """Return lines of journals."""
    plain = [record for record in CASE.plain_records if len(record["payload"] or "") < 2000]
    return JOURNAL_FORMS + [json.dumps(record).encode() for record in plain[::3]]


def _mutate_record(data: bytes, size_max: int, rng: Random, blind: Blind) -> bytes:
    if rng.random() < FRESH_SHARE:
        data = rng.choice(record_seeds())
    head = data[:2].ljust(2, b"\x00")
    if rng.random() < 0.1:
        head = bytes([rng.randrange(256), rng.choice([0, rng.randrange(256)])])
    return (head + mutate_json(data[2:] or b"{}", rng, is_grant=False, blind=blind))[:size_max]


def _mutate_grant(data: bytes, size_max: int, rng: Random, blind: Blind) -> bytes:
    if rng.random() < FRESH_SHARE:
        data = rng.choice(grant_seeds())
    return mutate_json(data or b"{}", rng, is_grant=True, blind=blind)[:size_max]


def _mutate_bulk(data: bytes, size_max: int, rng: Random, blind: Blind) -> bytes:
    parts = (data if rng.random() > FRESH_SHARE else rng.choice(bulk_seeds())).split(BULK_MARK)
    at = rng.randrange(len(parts))
    parts[at] = rng.choice([blind(parts[at], size_max), parts[at] + rng.choice(BULK_TOKENS)])
    return BULK_MARK.join(parts)[:size_max]


def _mutate_line(data: bytes, size_max: int, rng: Random, blind: Blind) -> bytes:
    if rng.random() < FRESH_SHARE:
        data = rng.choice(line_seeds())
    return blind(data, size_max)


TARGETS = {
    "records": Target(check_records, record_seeds, _mutate_record),
    "bulk": Target(check_bulk, bulk_seeds, _mutate_bulk),
    "grants": Target(check_grants, grant_seeds, _mutate_grant),
    "journal": Target(check_journal, line_seeds, _mutate_line),
    "states": Target(check_restored, stored_seeds, mutate_stored),
    "agent": Target(check_agent_journal, journal_seeds, mutate_journal),
    "model": Target(check_model_journal, journal_seeds, mutate_journal),
}
SIZE_MAX = {"records": 2048, "bulk": 128, "grants": 1024, "journal": 2048, "states": 8192, "agent": 6144, "model": 6144}
"""Bytes of one input: small ones are fast."""

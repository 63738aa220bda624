"""Mutations that know the form: most bytes that a blind fuzzer makes of JSON are only malformed."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any

from pipeline.domain.records import GRANTS_TOPIC, Record
from tests.fuzz.journals import (
    BASE_MS,
    CASE,
    HEADERS,
    KEYS,
    ODD_TIMES_MS,
    RECORDS_MAX,
    VALUE_MAX,
    read_journal,
    write_journal,
)
from tests.model.case_catalog import ENVIRONMENTS, FEATURES, MODELS, UNITS, WORKSPACES
from tests.model.case_events import same_fact, write_event
from tests.model.case_faults import MISSING, bad_event, bad_grant, bad_payload, put, scramble

Blind = Callable[[bytes, int], bytes]
"""The fuzzer's own mutation: bytes, and how many they may become."""
FRESH_SHARE = 0.3
"""So many mutations begin from what is sound, or most would be of what is only malformed."""
FRESH_BYTES_MAX = 1500
_ANY_TIME = datetime(2026, 11, 3, tzinfo=UTC)
GOOD_VALUES: dict[str, list[Any]] = {
    "data.unit": UNITS,
    "data.workspace": WORKSPACES,
    "data.feature": FEATURES,
    "data.model": [*MODELS, "no-such-model"],
    "data.environment": [*ENVIRONMENTS, "test"],
    "data.quantity": [0, 1, 2, 3, 75, 10**12, None],
    "data.input_tokens": [0, 1, 3000, 10**12],
    "data.cost": ["0", "0.000000000001", "1.5", "999999999999999999.999999999999", None, MISSING],
    "data.route": ["byok", "routed", None],
    "data.status": ["failed", "succeeded", None],
    "data.operation": ["op-1", "op-2", "\u2028", "o" * 128, None],
    "data.request_type": ["chat", "\U0001f600" * 128, "\u200b"],
    "id": ["a", "b", "\u2028id", "i" * 128],
    "subject": ["acme", "bürger & co", "nobody", "acme\u0301"],
    "extra": [{"a": {"b": [1.5, None]}}, "\ud83d\ude00", [[[[[]]]]], 1e308, 2**64],
}
GOOD_GRANT_VALUES: dict[str, list[Any]] = {
    "type": ["topup", "grant"],
    "id": ["g", "h", "\u2028"],
    "customer": ["acme", "bürger & co", "nobody"],
    "amount": ["25.00", "0", "0.000000000001", "999999999999999999"],
    "quantity": [0, 1, 5, 10**12],
    "match": [None, {}, {"unit": []}, {"unit": ["page"], "class": ["premium"]}, {"workspace": ["\u2028" * 128]}],
    "credits": [None, {}, {"page": 2, "document": 10**12}, {"\u2028": 1}, {"\u2028": 0}, {"\u2029": "x"}],
    "priority": [None, -5, 0, 10**12, -(10**12)],
    "effective_at": [None, "2026-11-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"],
    "expires_at": [None, "2026-11-01T00:00:00+05:30", "9999-12-31T23:59:59.9999999z"],
}
ODD_TOKENS = [
    *["\ud800", "\x00", "\u2028", "\ufeff", "\U0001f600", "\x7f", "\x85", "\u202e", '\\"', "\\u0000", "\\ud800"],
    *["9" * 400, "1e400", "-0", "[" * 130, '{"a":' * 130, "NaN", "null", "true", '"id":1,', "2140-01-01T00:00:00Z"],
]


def mutate_json(value: bytes, rng: Random, *, is_grant: bool, blind: Blind) -> bytes:
    """Return a JSON text with something in it changed; often it stays sound."""
    form = rng.random()
    if form < 0.25:
        return blind(value, VALUE_MAX)
    try:
        text = value.decode()
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        text = value.decode(errors="surrogateescape")
        return _encode(scramble(rng, text) if len(text) > 5 else "{}")
    if form < 0.4:
        return _encode(_insert(rng, text))
    if form < 0.45 and len(text) > 2:
        return _encode(bad_payload(rng, text) or "")
    return _encode(_change(decoded, rng, is_grant=is_grant))


def _change(decoded: Any, rng: Random, *, is_grant: bool) -> str:
    if isinstance(decoded, list) and decoded and not is_grant:
        parts = [json.dumps(each) for each in decoded]
        at = rng.randrange(len(parts))
        form = rng.random()
        if form < 0.1:
            del parts[at]
        elif form < 0.2:
            parts.insert(rng.randrange(len(parts) + 1), parts[at])
        else:
            parts[at] = _change(decoded[at], rng, is_grant=False)
        return "[" + rng.choice([",", " ,\n"]).join(parts) + "]"
    if not isinstance(decoded, dict):
        return json.dumps([decoded, {"a": decoded}])
    if is_grant:
        if rng.random() < 0.5:
            return bad_grant(rng, {"type": "topup"} | decoded) or ""
        name = rng.choice(list(GOOD_GRANT_VALUES))
        return json.dumps(put(decoded, name, rng.choice(GOOD_GRANT_VALUES[name])))
    event = decoded if isinstance(decoded.get("data"), dict) else decoded | {"data": {}}
    if rng.random() < 0.35 and isinstance(event.get("id"), str):
        return bad_event(rng, event)
    path = rng.choice(list(GOOD_VALUES))
    return write_event(rng, put(event, path, rng.choice(GOOD_VALUES[path])))


def _insert(rng: Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(ODD_TOKENS) + text[at + rng.choice([0, 0, 1, 2, 10]) :]


def _encode(text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


def mutate_journal(data: bytes, size_max: int, rng: Random, blind: Blind) -> bytes:
    """Return a journal with one thing in it changed."""
    records = read_journal(data)
    if rng.random() < FRESH_SHARE:
        fresh = rng.choice(CASE.records)
        if len(fresh.value or b"") < FRESH_BYTES_MAX:
            return write_journal([*records[-RECORDS_MAX // 2 :], fresh])[:size_max]
    if not records or rng.random() < 0.05:
        return blind(data, size_max)
    at = rng.randrange(len(records))
    changed = rng.choice([_value, _value, _value, _value, _value, _envelope, _order, _again])
    result = write_journal(changed(records, at, rng, blind))
    return result if len(result) <= size_max else blind(data, size_max)


def _value(records: list[Record], at: int, rng: Random, blind: Blind) -> list[Record]:
    record = records[at]
    value = mutate_json(record.value or b"{}", rng, is_grant=record.topic == GRANTS_TOPIC, blind=blind)
    records[at] = record._replace(value=value[:VALUE_MAX])
    return records


def _envelope(records: list[Record], at: int, rng: Random, _: Blind) -> list[Record]:
    times = [records[at].timestamp_ms + rng.choice([-1, 1]) * 1000 * rng.choice([1, 300, 86_400, 3_000_000])]
    times += [rng.choice(ODD_TIMES_MS), BASE_MS]
    changes: list[dict[str, Any]] = [
        {"key": rng.choice(KEYS)},
        {"headers": rng.choice(HEADERS)},
        {"timestamp_ms": rng.choice(times)},
        {"value": None},
    ]
    records[at] = records[at]._replace(**rng.choice(changes))
    return records


def _order(records: list[Record], at: int, rng: Random, _: Blind) -> list[Record]:
    moved = records.pop(at)
    if rng.random() < 0.6:
        records.insert(rng.randrange(len(records) + 1), moved)
    return records


def _again(records: list[Record], at: int, rng: Random, _: Blind) -> list[Record]:
    """Send a record again, at times in other words."""
    again = records[at]
    with suppress(ValueError, RecursionError, TypeError):  # what is no event is sent again as it is
        event = json.loads(again.value or b"")
        if isinstance(event, dict) and isinstance(event.get("data"), dict) and rng.random() < 0.5:
            fact = same_fact(rng, event, _ANY_TIME) | {"time": event.get("time")}
            again = again._replace(value=_encode(json.dumps(fact)))
    records.insert(rng.randrange(at + 1, len(records) + 1), again)
    return records

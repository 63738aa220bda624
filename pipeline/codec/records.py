"""Records of `usage.events` and `billing.grants` to what is in them (R2.1, R2.5)."""

import re
from typing import Any

import msgspec

from pipeline.codec.json_input import Faulty, parse_json
from pipeline.domain.admission import Envelope
from pipeline.domain.events import UsageEvent, json_type, parse_event
from pipeline.domain.grants import Grant, TopUp, parse_grant
from pipeline.domain.instants import parse_instant
from pipeline.domain.records import Record
from pipeline.domain.rejects import MALFORMED, TOO_LARGE, Rejected

BATCH_EVENTS_MAX = 10_000
RECORD_BYTES_MAX = 1 << 20
GRANT_BYTES_MAX = 1 << 16
"""Grants are kept in the customer's state for ever, and written with it (docs/rules.md, R2.5)."""
TIMESTAMP_LIMIT_MS = parse_instant("2140-01-01T00:00:00Z") // 1000
"""What lies beyond is a mistake, such as microseconds, and would not fit ClickHouse's Date."""
_SINGLE = b"application/cloudevents+json"
_BATCH = b"application/cloudevents-batch+json"
_IMPORT_HEADER = "x-usage-import"
_JSON_SPACE = b" \t\r\n"
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def envelope_of(record: Record) -> Envelope:
    """Return what a record says about the events in it. A key that is no UTF-8 text equals no customer's id."""
    try:
        key = None if record.key is None else record.key.decode()
    except UnicodeDecodeError:
        key = None
    offline = any(name == _IMPORT_HEADER and value == b"offline" for name, value in record.headers)
    return Envelope(key, record.timestamp_ms, offline)


def decode_events(record: Record) -> list[Any]:
    """Return the decoded events of a record, in order. Raises Rejected: malformed or too_large, for the whole record.

    Each is checked by `event_of`; here only the record's own form is (R2.1).
    """
    _check_timestamp(record)
    decoded = parse_json(record.value or b"")
    batch = _is_batch(record, decoded)
    if batch and not decoded:
        raise Rejected(MALFORMED, "the batch is empty")
    if record.value is not None and len(record.value) > RECORD_BYTES_MAX:
        raise Rejected(TOO_LARGE, f"the record has {len(record.value)} bytes, at most {RECORD_BYTES_MAX} are allowed")
    if not batch:
        return [decoded]
    if len(decoded) > BATCH_EVENTS_MAX:
        raise Rejected(TOO_LARGE, f"the batch has {len(decoded)} events, at most {BATCH_EVENTS_MAX} are allowed")
    return decoded  # type: ignore[no-any-return]


def _check_timestamp(record: Record) -> None:
    """Reject a record whose timestamp cannot be one: a sender's clock or unit is wrong (docs/rules.md, R2.1)."""
    if record.timestamp_ms >= TIMESTAMP_LIMIT_MS:
        raise Rejected(MALFORMED, f"the record's timestamp, {record.timestamp_ms} ms, lies beyond the year 2139")


def _is_batch(record: Record, decoded: Any) -> bool:
    content_type = next((value for name, value in record.headers if name.lower() == "content-type"), None)
    if content_type is not None:
        media_type = content_type.split(b";")[0].strip().lower()
        if media_type not in (_SINGLE, _BATCH):
            raise Rejected(MALFORMED, f"content-type: {media_type.decode(errors='replace')[:80]!r} is not CloudEvents")
        if (media_type == _BATCH) != isinstance(decoded, list):
            raise Rejected(MALFORMED, f"content-type: says otherwise than the body, which is {_name(decoded)}")
    if not isinstance(decoded, list | dict | Faulty):
        raise Rejected(MALFORMED, f"a record is a JSON object or an array of them, not {_name(decoded)}")
    return isinstance(decoded, list)


def _name(decoded: Any) -> str:
    return "an object" if isinstance(decoded, Faulty) else json_type(decoded)


def event_of(decoded: Any) -> UsageEvent:
    """Return the usage event in a decoded value. Raises Rejected: malformed or invalid_field (R2.2)."""
    return parse_event(_flawless(decoded))


def decode_grant(record: Record) -> TopUp | Grant:
    """Return the top-up or grant of a record. Raises Rejected: malformed, too_large or invalid_field (R2.5)."""
    _check_timestamp(record)
    if len(record.value or b"") > GRANT_BYTES_MAX:
        raise Rejected(
            TOO_LARGE, f"the grant has {len(record.value or b'')} bytes, at most {GRANT_BYTES_MAX} are allowed"
        )
    return parse_grant(_flawless(parse_json(record.value or b"")))


def _flawless(decoded: Any) -> Any:
    if isinstance(decoded, Faulty):
        raise Rejected(MALFORMED, decoded.reason)
    return decoded


def originals_of(record: Record) -> list[bytes]:
    """Return the bytes of each event of a record that was decoded, exactly as they were sent (R2.3)."""
    value = record.value or b""
    if not value.lstrip(_JSON_SPACE).startswith(b"["):
        return [value]
    try:
        return [bytes(each) for each in _decode_array(value)]
    except msgspec.DecodeError:
        return _split_array(value)  # it holds NaN, or half of a surrogate pair


def _split_array(value: bytes) -> list[bytes]:
    """Return the elements of a JSON array whose brackets and quotes match; slow, whatever else is in it."""
    parts = []
    depth, start = 0, value.index(b"[") + 1
    for found in _STRUCTURE.finditer(value):
        mark = found[0]
        if (mark == b"," and depth == 1) or (mark == b"]" and depth == 1):
            parts.append(value[start : found.start()].strip(_JSON_SPACE))
            start = found.end()
        if mark in (b"[", b"{"):
            depth += 1
        elif mark in (b"]", b"}"):
            depth -= 1
    return parts

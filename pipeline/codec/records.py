"""Records of `usage.events` and `billing.grants` to what is in them (R2.1, R2.5)."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline.codec.json_input import Faulty, parse_json, parse_sound_json
from pipeline.codec.plain_events import plain_events
from pipeline.domain.admission import Envelope
from pipeline.domain.closings import CLOSE, Close, parse_close
from pipeline.domain.events import Event, UsageEvent, json_type, parse_event
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


def key_of(record: Record) -> str | None:
    """Return a record's key; one that is no UTF-8 text is None, and equals no customer's id."""
    try:
        return None if record.key is None else record.key.decode()
    except UnicodeDecodeError:
        return None


def envelope_of(record: Record, key: str | None, version: int = 0) -> Envelope:
    """Return what a record with this key says about the events in it; `version` is that of the lines that it makes."""
    headers = record.headers
    offline = bool(headers) and any(name == _IMPORT_HEADER and value == b"offline" for name, value in headers)
    return Envelope(key, record.timestamp_ms, offline, version)


def decode_events(record: Record) -> Sequence[Event | Rejected]:
    """Return the events of a record, in order, each with its rejection in its place if it has one.

    Raises Rejected: malformed or too_large, for the whole record (R2.1, R2.2).
    """
    _check_timestamp(record)
    value = record.value or b""
    events = plain_events(value)
    if isinstance(events, UsageEvent):
        if record.headers or len(value) > RECORD_BYTES_MAX:
            _check_form(record, events, is_batch=False)
        return (events,)
    if events is not None:
        _check_form(record, events, is_batch=True)
        return events
    mixed = _one_by_one(value)
    if mixed is not None:
        _check_form(record, mixed, is_batch=True)
        return mixed
    decoded = parse_json(value)
    _check_form(record, decoded, is_batch=isinstance(decoded, list))
    return [_event_of(each) for each in (decoded if isinstance(decoded, list) else [decoded])]


def _one_by_one(value: bytes) -> list[Event | Rejected] | None:
    """Return the events of a batch of which some are not plain; None when one is so odd that it could mar the whole."""
    try:
        pieces = _decode_array(value)
    except (msgspec.DecodeError, RecursionError):
        return None
    if len(pieces) > BATCH_EVENTS_MAX:
        return None
    events: list[Event | Rejected] = []
    for piece in pieces:
        text = bytes(piece)
        event = plain_events(text)
        if isinstance(event, UsageEvent):
            events.append(event)
            continue
        decoded = parse_sound_json(text)
        if decoded is None:
            return None
        events.append(_event_of(decoded))
    return events


def _event_of(decoded: Any) -> Event | Rejected:
    """Return the event in a decoded value, or why it is rejected: malformed or invalid_field (R2.2)."""
    try:
        return parse_event(_flawless(decoded))
    except Rejected as rejected:
        return rejected


def _check_timestamp(record: Record) -> None:
    """Reject a record whose timestamp cannot be one: a sender's clock or unit is wrong (docs/rules.md, R2.1)."""
    if record.timestamp_ms >= TIMESTAMP_LIMIT_MS:
        raise Rejected(MALFORMED, f"the record's timestamp, {record.timestamp_ms} ms, lies beyond the year 2139")


def _check_form(record: Record, decoded: Any, *, is_batch: bool) -> None:
    """Reject a record whose value is not what it says, or is too much of it (R2.1)."""
    if record.headers:
        _check_content_type(record, decoded, is_batch=is_batch)
    if not is_batch:
        if not isinstance(decoded, dict | Faulty | UsageEvent):
            raise Rejected(MALFORMED, f"a record is a JSON object or an array of them, not {_name(decoded)}")
    elif not decoded:
        raise Rejected(MALFORMED, "the batch is empty")
    if record.value is not None and len(record.value) > RECORD_BYTES_MAX:
        raise Rejected(TOO_LARGE, f"the record has {len(record.value)} bytes, at most {RECORD_BYTES_MAX} are allowed")
    if is_batch and len(decoded) > BATCH_EVENTS_MAX:
        raise Rejected(TOO_LARGE, f"the batch has {len(decoded)} events, at most {BATCH_EVENTS_MAX} are allowed")


def _check_content_type(record: Record, decoded: Any, *, is_batch: bool) -> None:
    content_type = next((value for name, value in record.headers if name.lower() == "content-type"), None)
    if content_type is None:
        return
    media_type = content_type.split(b";")[0].strip().lower()
    if media_type not in (_SINGLE, _BATCH):
        raise Rejected(MALFORMED, f"content-type: {media_type.decode(errors='replace')[:80]!r} is not CloudEvents")
    if (media_type == _BATCH) != is_batch:
        raise Rejected(MALFORMED, f"content-type: says otherwise than the body, which is {_name(decoded)}")


def _name(decoded: Any) -> str:
    return "an object" if isinstance(decoded, Faulty | UsageEvent) else json_type(decoded)


def decode_grant(record: Record) -> TopUp | Grant:
    """Return the top-up or grant of a record. Raises Rejected: malformed, too_large or invalid_field (R2.5)."""
    return parse_grant(_decode_object(record))


def decode_billing(record: Record) -> TopUp | Grant | Close:
    """Return what a customer's record of billing.grants says. Raises Rejected as `decode_grant` does (R2.5, R10.1)."""
    value = _decode_object(record)
    return parse_close(value) if isinstance(value, dict) and value.get("type") == CLOSE else parse_grant(value)


def _decode_object(record: Record) -> Any:
    _check_timestamp(record)
    if len(record.value or b"") > GRANT_BYTES_MAX:
        raise Rejected(
            TOO_LARGE, f"the grant has {len(record.value or b'')} bytes, at most {GRANT_BYTES_MAX} are allowed"
        )
    return _flawless(parse_json(record.value or b""))


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

"""Journals: Kafka records as NDJSON, in the form that `kcat -J` prints (R2.6)."""

import json
from typing import Any

import orjson

from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record

INT64_LIMIT = 1 << 63
"""Kafka's numbers are smaller. Our two JSON parsers would differ in what they take for an integer beyond it."""


def parse_journal_line(line: bytes) -> Record:
    """Return the record on one line. Raises ValueError that says what is wrong with the line."""
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        entry = _parse_tolerantly(line)
    if not isinstance(entry, dict):
        raise ValueError("a journal line is a JSON object with topic, partition, offset, ts, key and payload")
    topic = entry.get("topic")
    if not isinstance(topic, str):
        raise ValueError("topic: must be a string")
    if topic not in (EVENTS_TOPIC, GRANTS_TOPIC):
        raise ValueError(f"topic: {topic!r} is not rated; a journal holds {EVENTS_TOPIC} and {GRANTS_TOPIC}")
    return Record(
        topic,
        _integer(entry, "partition"),
        _integer(entry, "offset"),
        _integer(entry, "ts"),
        _text(entry, "key"),
        _text(entry, "payload"),
        _headers(entry.get("headers")),
    )


def _parse_tolerantly(line: bytes) -> Any:
    """Return a line whose texts hold bytes that are no UTF-8, or lone surrogates. Raises ValueError."""
    try:
        return json.loads(line.decode(errors="surrogateescape"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _integer(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    if type(value) is not int or not -INT64_LIMIT <= value < INT64_LIMIT:
        raise ValueError(f"{name}: must be an integer of 64 bits")
    return value


def _text(entry: dict[str, Any], name: str) -> bytes | None:
    value = entry.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{name}: must be a string or null")
    return _bytes(value)


def _bytes(text: str) -> bytes:
    """Return the bytes of a text; those that were no UTF-8 in the journal come back as they were."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


def _headers(headers: object) -> tuple[tuple[str, bytes], ...]:
    """Return headers, given as kcat's flat array of names and values or as an object."""
    if headers is None:
        return ()
    pairs: Any
    if isinstance(headers, dict):
        pairs = headers.items()
    elif isinstance(headers, list) and len(headers) % 2 == 0:
        pairs = zip(headers[::2], headers[1::2], strict=True)
    else:
        raise ValueError("headers: must be an object, or an array of names and values in turn")
    return tuple((str(name), b"" if value is None else _bytes(str(value))) for name, value in pairs)

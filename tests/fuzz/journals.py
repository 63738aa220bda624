"""Journals as bytes, for a fuzzer: any bytes are a journal, and records that are alike have bytes that are alike.

A record is FRAME (flags, key, headers, seconds since BASE_MS, length of the value) and its value. Lengths that reach
beyond the end are cut, numbers beyond a list begin it anew.
"""

import struct
from collections.abc import Iterable

from pipeline.codec.records import TIMESTAMP_LIMIT_MS
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from tests.rating.support import Case, case

FRAME = struct.Struct(">BBBiH")
RECORDS_MAX = 24
VALUE_MAX = 0xFFFF
IS_GRANT, IS_NULL, ODD_TIME = 0x01, 0x02, 0x1C
"""Bits of the flags: the topic, whether the value is null, and which of ODD_TIMES is the timestamp (0: none)."""
ODD_TIMES_MS = [0, -1, 2**62, -(2**62), TIMESTAMP_LIMIT_MS - 1, TIMESTAMP_LIMIT_MS, 2**31 * 1000]
SINGLE, BATCH = b"application/cloudevents+json", b"application/cloudevents-batch+json"
HEADERS: list[tuple[tuple[str, bytes | None], ...]] = [
    (),
    (("content-type", SINGLE),),
    (("content-type", BATCH),),
    (("content-type", BATCH + b"; charset=utf-8"),),
    (("x-usage-import", b"offline"),),
    (("x-usage-import", b"offline"), ("content-type", BATCH)),
    (("x-usage-import", b"online"),),
    (("content-type", b"application/json"),),
    # from here on the naive model does not follow
    (("Content-Type", b" " + SINGLE.upper()), ("content-type", BATCH)),
    (("content-type", b"\xff\xfe;\x00"),),
    (("content-type", b""),),
    (("content-type", None), ("x-usage-import", None)),
    (("\ufffd\x00\u2028", b"\xff" * 300), ("", b"")),
    (("ce_specversion", b"1.0"), ("ce_type", b"ai.usage.v1"), ("ce_id", b"a"), ("ce_source", b"dep")),
    (("content-encoding", b"gzip"),),
]
PLAIN_HEADERS = 8
"""So many of HEADERS are such that the naive model reads them."""


def fuzz_case() -> Case:
    """Return the case whose catalog the fuzzers rate by: one of many features and few customers."""
    return case(11)


CASE = fuzz_case()
BASE_MS = min(record.timestamp_ms for record in CASE.records)
KEYS: list[bytes | None] = [
    *sorted({record.key for record in CASE.records if record.key}),
    *[None, b"", b"\xff", b"acme\x00", b"acme ", "é".encode() * 200],
]


def read_journal(data: bytes) -> list[Record]:
    """Return the records in any bytes; there are at most RECORDS_MAX."""
    records: list[Record] = []
    at = 0
    while at < len(data) and len(records) < RECORDS_MAX:
        frame = data[at : at + FRAME.size].ljust(FRAME.size, b"\x00")
        flags, key, headers, seconds, length = FRAME.unpack(frame)
        at += FRAME.size
        value = data[at : at + length]
        at += length
        odd = (flags & ODD_TIME) >> 2
        records.append(
            Record(
                GRANTS_TOPIC if flags & IS_GRANT else EVENTS_TOPIC,
                0,
                len(records),
                ODD_TIMES_MS[odd - 1] if odd else BASE_MS + seconds * 1000,
                KEYS[key % len(KEYS)],
                None if flags & IS_NULL else value,
                HEADERS[headers % len(HEADERS)],  # type: ignore[arg-type]
            )
        )
    return records


def write_journal(records: Iterable[Record]) -> bytes:
    """Return bytes that read as these records, or as near to them as bytes come: they are seeds."""
    return b"".join(map(_frame, list(records)[:RECORDS_MAX]))


def _frame(record: Record) -> bytes:
    value = (record.value or b"")[:VALUE_MAX]
    odd = ODD_TIMES_MS.index(record.timestamp_ms) + 1 if record.timestamp_ms in ODD_TIMES_MS else 0
    seconds = 0 if odd else -(-(record.timestamp_ms - BASE_MS) // 1000)
    flags = (record.topic == GRANTS_TOPIC) * IS_GRANT | (record.value is None) * IS_NULL | odd << 2
    key = KEYS.index(record.key) if record.key in KEYS else KEYS.index(None)
    headers = HEADERS.index(record.headers) if record.headers in HEADERS else 0
    return FRAME.pack(flags, key, headers, max(-(2**31), min(seconds, 2**31 - 1)), len(value)) + value

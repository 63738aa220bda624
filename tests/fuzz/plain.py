"""The naive model beside the pipeline, as far as it follows: what it says of the same bytes must be the same."""

from collections import Counter
from typing import Any
from zlib import crc32

from pipeline.domain.catalog import Catalog
from pipeline.domain.records import Record
from tests.fuzz.journals import HEADERS, ODD_TIMES_MS, PLAIN_HEADERS
from tests.model import naive, naive_input
from tests.model.compare import assert_same
from tests.rating.support import rate_offline

NESTED_MAX = 100
"""The naive model knows no limit of depth; ours is 128 (docs/rules.md, R2.2)."""
GRANT_BYTES_MAX = 1 << 16
RESERVATION_WORDS = (b"reserv", b"release")
"""The naive model knows the specification, which has no reservations (R9)."""
SAMPLE = 4


def comparable(record: Record) -> bool:
    """Tell whether the naive model follows: it has no odd timestamps and headers, no limits of ours and no reservations."""
    value = record.value or b""
    return (
        record.headers in HEADERS[:PLAIN_HEADERS]
        and record.timestamp_ms not in ODD_TIMES_MS
        and value.count(b"[") + value.count(b"{") < NESTED_MAX
        and len(value) < GRANT_BYTES_MAX
        and not any(word in value for word in RESERVATION_WORDS)
    )


def _is_sampled(record: Record) -> bool:
    """Choose some of the records, always the same: the naive model is slow, and a fuzzer comes by again."""
    return crc32(record.value or b"") % SAMPLE == 0


def plain_record(record: Record) -> dict[str, Any]:
    """Return a record as the naive model reads it: bytes that are no UTF-8 become halves of surrogate pairs."""
    return {
        "topic": record.topic,
        "offset": record.offset,
        "ts": record.timestamp_ms,
        "key": None if record.key is None else record.key.decode(errors="surrogateescape"),
        "payload": None if record.value is None else record.value.decode(errors="surrogateescape"),
        "headers": {name: value.decode(errors="surrogateescape") for name, value in record.headers},
    }


def compare_event(record: Record, found: str | list[str | None]) -> None:
    """Check the codes that the form of a record's events came to: one for the whole, or one or None for each."""
    if comparable(record) and _is_sampled(record):
        assert found == _event_codes(plain_record(record)), f"the naive model says {_event_codes(plain_record(record))}"


def _event_codes(plain: dict[str, Any]) -> str | list[str | None]:
    try:
        events = naive_input.events_of(plain)
    except naive_input.Rejected as rejected:
        return rejected.code
    codes: list[str | None] = []
    for event in events:
        try:
            naive_input.read_event(event)
            codes.append(None)
        except naive_input.Rejected as rejected:
            codes.append(rejected.code)
    return codes


def compare_grant(record: Record, found: str | None) -> None:
    """Check the code that the form of a grant came to."""
    if not (comparable(record) and _is_sampled(record)):
        return
    try:
        naive_input.read_grant(plain_record(record))
        wanted = None
    except naive_input.Rejected as rejected:
        wanted = rejected.code
    assert found == wanted, f"the naive model says {wanted}"


def compare_journal(plain_catalog: dict[str, Any], catalog: Catalog, records: list[Record]) -> Counter[str]:
    """Check lines, rejects, alerts and statements of a journal; return how many ended as what."""
    wanted = naive.rate([plain_record(record) for record in records], plain_catalog)
    assert_same(wanted, rate_offline(catalog, records))
    counts = Counter(records=len(records), lines=len(wanted.lines))
    counts["duplicates"] = wanted.notes["duplicate"] + wanted.notes["duplicate after exactly 35 days"]
    counts.update(f"reject {reject['code']}" for reject in wanted.rejects)
    return counts

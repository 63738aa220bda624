"""Malformed records, one kind at a time and drawn at random: each ends as lines, duplicates or rejects, counted."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codec.json_input import DEPTH_MAX
from pipeline.codec.records import BATCH_EVENTS_MAX, RECORD_BYTES_MAX
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.rating.ledger import Ledger
from tests.domain.world import NOON, World, ms
from tests.fuzz.accounts import check_agent, check_effects, check_lines, ends
from tests.fuzz.journals import HEADERS, ODD_TIMES_MS
from tests.rating.support import event, rows_of

CATALOG = World().catalog
SOUND = json.dumps(event("a")).encode()
WHOLE = None
SINGLE_HEADER = (("content-type", b"application/cloudevents+json"),)
BINARY_MODE = (("content-type", b"application/json"), ("ce_specversion", b"1.0"), ("ce_type", b"ai.usage.v1"))


def record_of(value: bytes | None, headers: Any = (), time_ms: int = ms(NOON), key: bytes | None = b"acme") -> Record:
    return Record(EVENTS_TOPIC, 0, 0, time_ms, key, value, headers)


def with_text(text: str) -> bytes:
    """Return an event with something put at its end, before the last brace."""
    return SOUND[:-1] + text.encode(errors="surrogatepass") + b"}"


@pytest.mark.rule("R2.1", "R2.2", "R2.3")
@pytest.mark.parametrize(
    ("record", "rejects"),
    [
        pytest.param(record_of(None), [(WHOLE, "malformed")], id="null"),
        pytest.param(record_of(b""), [(WHOLE, "malformed")], id="empty"),
        pytest.param(record_of(b"\xef\xbb\xbf" + SOUND), [(WHOLE, "malformed")], id="byte order mark"),
        pytest.param(record_of(SOUND.decode().encode("utf-16")), [(WHOLE, "malformed")], id="UTF-16"),
        pytest.param(record_of(gzip.compress(SOUND, mtime=0)), [(WHOLE, "malformed")], id="gzip"),
        pytest.param(record_of(SOUND[:-1]), [(WHOLE, "malformed")], id="cut off"),
        pytest.param(record_of(SOUND + SOUND), [(WHOLE, "malformed")], id="two values"),
        pytest.param(record_of(SOUND + b"\x00"), [(WHOLE, "malformed")], id="NUL at the end"),
        pytest.param(record_of(b"\x00\x00\x00\x00\x01" + SOUND), [(WHOLE, "malformed")], id="schema registry's head"),
        pytest.param(record_of(SOUND.replace(b"legal", b"leg\x00l")), [(WHOLE, "malformed")], id="NUL in a string"),
        pytest.param(record_of(SOUND.replace(b"legal", b"leg\xffl")), [(WHOLE, "malformed")], id="no UTF-8"),
        pytest.param(record_of(SOUND.replace(b"legal", b"\xed\xa0\x80")), [(WHOLE, "malformed")], id="CESU-8"),
        pytest.param(record_of(b'{"' + b'\\"' * 500_000), [(WHOLE, "malformed")], id="a long string, cut off"),
        pytest.param(record_of(b"[" * 100_000), [(WHOLE, "malformed")], id="deep, cut off"),
        pytest.param(
            record_of(with_text(', "x": ' + "[" * DEPTH_MAX + "]" * DEPTH_MAX)), [(WHOLE, "malformed")], id="deep"
        ),
        pytest.param(record_of(with_text(', "x": ' + "[" * 127 + "]" * 127)), [], id="as deep as may be"),
        pytest.param(record_of(with_text(', "x": ' + "9" * 5000)), [], id="a huge number that is not looked at"),
        pytest.param(record_of(with_text(', "x": 1e999')), [], id="a number beyond floats that is not looked at"),
        pytest.param(record_of(with_text(', "id": "a"')), [(0, "malformed")], id="a key twice"),
        pytest.param(record_of(with_text(', "x": NaN')), [(0, "malformed")], id="NaN"),
        pytest.param(record_of(with_text(', "x": "\\ud800"')), [(0, "malformed")], id="half of a pair"),
        pytest.param(record_of(SOUND.replace(b'"a"', b'"' + b"i" * 129 + b'"')), [(0, "invalid_field")], id="long id"),
        pytest.param(record_of(SOUND.replace(b'"a"', b'"\\u0000"')), [(0, "invalid_field")], id="NUL, escaped"),
        pytest.param(record_of(b"[]"), [(WHOLE, "malformed")], id="no events"),
        pytest.param(record_of(b"[[]]"), [(0, "malformed")], id="a batch in a batch"),
        pytest.param(record_of(SOUND, BINARY_MODE), [(WHOLE, "malformed")], id="CloudEvents binary mode"),
        pytest.param(record_of(b"[%b]" % SOUND, SINGLE_HEADER), [(WHOLE, "malformed")], id="not what the header says"),
        pytest.param(record_of(SOUND, (("content-type", None), ("x-usage-import", None))), [], id="headers of null"),
        pytest.param(record_of(SOUND, (("\ufffd", b"\xff"), ("", b""))), [], id="odd headers"),
        pytest.param(record_of(SOUND, key=b"\xff"), [(0, "wrong_key")], id="a key that is no text"),
        pytest.param(record_of(SOUND, key=None), [(0, "wrong_key")], id="no key"),
        pytest.param(record_of(SOUND, time_ms=-1), [(0, "time_in_future")], id="a timestamp of -1"),
        pytest.param(record_of(SOUND, time_ms=2**62), [(WHOLE, "malformed")], id="a timestamp in nanoseconds"),
    ],
)
def test_each_kind_of_malformed_record_is_told(record: Record, rejects: list[tuple[int | None, str]]) -> None:
    """A record or event that cannot be rated is a dead letter with its code; what only looks odd is a line."""
    ledger = Ledger(CATALOG)
    ledger.rate(record)
    effects = ledger.take_effects()

    check_effects(record, effects)
    assert [(letter.index, letter.code) for letter in effects.dead_letters] == rejects
    assert effects.lines == (not rejects)


@pytest.mark.rule("R2.1")
@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (BATCH_EVENTS_MAX, {"events": BATCH_EVENTS_MAX, "reject malformed": BATCH_EVENTS_MAX}),
        (BATCH_EVENTS_MAX + 1, {"reject too_large": 1}),
    ],
)
def test_a_batch_has_at_most_ten_thousand_events(count: int, wanted: dict[str, int]) -> None:
    """Ten thousand are looked at one by one, one more is too large as a whole."""
    ledger = Ledger(CATALOG)
    record = record_of(b"[" + b",".join([b"0"] * count) + b"]")
    ledger.rate(record)
    effects = ledger.take_effects()

    check_effects(record, effects)
    assert {name: number for name, number in ends([effects]).items() if number and name != "records"} == wanted


@pytest.mark.rule("R2.1")
def test_a_batch_of_ten_thousand_is_rated_whole() -> None:
    """As many events as a batch may have, among them duplicates and rejects, are each accounted for."""
    events = [{"id": "a"}, *(event(f"e{at % 9_000}", quantity=-1 if at % 3 == 0 else 1) for at in range(9_999))]
    slim = json.dumps([{k: v for k, v in each.items() if v is not None} for each in events], separators=(",", ":"))
    record = record_of(slim.encode()[:RECORD_BYTES_MAX])
    shorter = record._replace(value=json.dumps(events[:3000], separators=(",", ":")).encode())

    for each in (record, shorter):
        ledger = Ledger(CATALOG)
        ledger.rate(each)
        effects = ledger.take_effects()
        check_effects(each, effects)
        check_lines(rows_of(effects))


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.text(max_size=140)
    | st.sampled_from(["\u2028", "\x00", "\ufeff", "\U0001f600" * 128, "1e3", "-0", "0.0000000000001", NOON, "acme"])
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PLACES = [
    *["specversion", "type", "id", "source", "subject", "time", "data", "extra"],
    *["environment", "workspace", "feature", "model", "unit", "quantity", "input_tokens", "cached_input_tokens"],
    *["output_tokens", "cost", "route", "status", "operation", "request_type", "\u2028"],
]
GRANT_PLACES = [
    "type",
    "id",
    "customer",
    "amount",
    "quantity",
    "match",
    "credits",
    "priority",
    "effective_at",
    "expires_at",
]


@st.composite
def events(draw: st.DrawFn) -> Any:
    """Return an event in which some fields are anything."""
    made = event(draw(st.sampled_from(["a", "b", "c"])), quantity=draw(st.sampled_from([0, 1, 3])))
    for place in draw(st.lists(st.sampled_from(PLACES), max_size=2)):
        part = made["data"] if place not in made and isinstance(made.get("data"), dict) else made
        part[place] = draw(JSON)
    return made


@st.composite
def grants(draw: st.DrawFn) -> Any:
    """Return a grant or top-up in which some fields are anything."""
    made: dict[str, Any] = {"type": "grant", "id": draw(st.sampled_from(["g", "h"])), "customer": "acme", "quantity": 5}
    if draw(st.booleans()):
        made |= {"type": "topup", "amount": "25.00"}
    made |= draw(st.sampled_from([{}, {"match": {"unit": ["document"]}}, {"credits": {"document": 2}}]))
    for place in draw(st.lists(st.sampled_from(GRANT_PLACES), max_size=2)):
        made[place] = draw(JSON | st.dictionaries(st.sampled_from(["unit", "a\u2028b", ""]), JSON, max_size=2))
    return made


@st.composite
def values(draw: st.DrawFn, topic: str) -> bytes | None:
    form = draw(st.integers(0, 19))
    if form == 0:
        return draw(st.none() | st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
    if topic == GRANTS_TOPIC:
        sound = json.dumps(draw(grants()))
    else:
        made = draw(st.lists(events() | JSON, max_size=4)) if draw(st.booleans()) else draw(events())
        sound = json.dumps(made, ensure_ascii=draw(st.booleans()))
    value = sound.encode(errors="surrogatepass")
    if form == 1:
        return value[: draw(st.integers(0, len(value)))]
    if form == 2:
        at = draw(st.integers(0, len(value)))
        return value[:at] + draw(st.binary(min_size=1, max_size=3)) + value[at:]
    return value


@st.composite
def journals(draw: st.DrawFn) -> list[Record]:
    records = []
    for offset in range(draw(st.integers(1, 6))):
        topic = draw(st.sampled_from([EVENTS_TOPIC, EVENTS_TOPIC, EVENTS_TOPIC, GRANTS_TOPIC]))
        time_ms = draw(st.sampled_from([*[ms(NOON)] * 6, ms(NOON) + 60 * 86_400_000, *ODD_TIMES_MS]))
        headers: Any = draw(st.sampled_from([*[()] * 9, *HEADERS]))
        key = draw(st.sampled_from([*[b"acme"] * 9, b"other", b"\xff", b"", None]))
        records.append(Record(topic, 0, offset, time_ms, key, draw(values(topic)), headers))
    return records


@pytest.mark.rule("R2.3")
@settings(max_examples=300, deadline=None)
@given(journals())
def test_every_event_has_one_end_and_rejects_leave_no_trace(records: list[Record]) -> None:
    """Each event is one line, duplicate or dead letter with its bytes; without the rejects all the rest is the same."""
    counts = check_agent(CATALOG, records)

    assert counts["records"] == len(records)

"""Whatever bytes arrive, rating ends in lines, duplicates or dead letters, and never in an error."""

import json
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.domain.rejects import CODES
from pipeline.rating.rater import Outcome, Rater
from tests.domain.world import NOON, World, ms, snapshot
from tests.rating.support import event

CATALOG = World().catalog
GRANT = {
    "type": "grant",
    "id": "g",
    "customer": "acme",
    "quantity": 5,
    "match": {"unit": ["page"]},
    "credits": {"page": 2},
}
SOUND = [
    json.dumps(event("a", quantity=3, route="routed", operation="job", input_tokens=5)).encode(),
    json.dumps([event("a"), event("b", extra={"deep": [[{"x": None}], 1.5]}), event("c", subject="ü")]).encode(),
    json.dumps([event("a", cost=None), event("a", cost="0.0123", model="huge"), 17], indent=1).encode(),
    json.dumps(GRANT).encode(),
    json.dumps({"type": "topup", "id": "t", "customer": "acme", "amount": "25.00"}).encode(),
]
TOKENS = [
    b"", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"0", b"-", b"1e400", b"9" * 400, b"null", b"true", b"NaN",
    b"-Infinity", b'"\\ud800"', b"\\u0000", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x00", b"\n", b" ", b'"id":1,',
    b'"data":{},', b"2140-01-01T00:00:00Z", b"0001-01-01T00:00:00+23:59", b"[" * 1100, b'{"a":' * 500, b'[{"a":1,"a":1}]',
]  # fmt: skip
TIMESTAMPS = st.sampled_from([ms(NOON), 0, -1, 2**62, -(2**62), ms("2139-12-31T23:59:59Z"), ms("2026-11-30T23:59:59Z")])
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "Content-Type", "x-usage-import", "other"]),
        st.sampled_from(
            [b"application/cloudevents+json", b"application/cloudevents-batch+json", b"offline", b"", b"\xff"]
        ),
    ),
    max_size=2,
).map(tuple)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a sound value with pieces taken out, put in, doubled or replaced."""
    value = draw(st.sampled_from(SOUND))
    rng = Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(0, 6))):
        start = rng.randrange(len(value) + 1)
        end = min(len(value), start + rng.choice([0, 0, 1, 1, 2, 10, 60]))
        value = value[:start] + rng.choice([*TOKENS, value[start:end] * 2, bytes([rng.randrange(256)])]) + value[end:]
    return value


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    values = draw(st.lists(mutated() | mutated() | st.binary(max_size=40) | st.none(), min_size=1, max_size=4))
    return [
        Record(
            draw(st.sampled_from([EVENTS_TOPIC, EVENTS_TOPIC, GRANTS_TOPIC])),
            0,
            offset,
            draw(TIMESTAMPS),
            draw(st.sampled_from([b"acme", b"acme", b"acme", b"nobody", b"\xff", b"", None])),
            value,
            draw(HEADERS),
        )
        for offset, value in enumerate(values)
    ]


def check(record: Record, outcome: Outcome) -> None:
    whole = [letter for letter in outcome.dead_letters if letter.index is None]
    single = [letter for letter in outcome.dead_letters if letter.index is not None]
    if record.topic == EVENTS_TOPIC:
        assert outcome.events == len(outcome.lines) + outcome.duplicates + len(single)
        assert not (whole and single)
        assert (outcome.events > 0) != bool(whole)
    else:
        assert (outcome.events, len(single)) == (0, 0)
    assert len({letter.index for letter in outcome.dead_letters}) == len(outcome.dead_letters)
    for letter in outcome.dead_letters:
        assert letter.code in CODES
        assert letter.message
        assert len(letter.message.splitlines()) == 1
        assert len(letter.message) < 500
        assert letter.original in (record.value or b"")
    assert (outcome.customer is None) == (not outcome.lines and not outcome.duplicates) or record.topic == GRANTS_TOPIC


def states_of(rater: Rater) -> dict[str, Any]:
    return {name: snapshot(rater.state_of(name)) for name in rater.customers()}


@settings(max_examples=600, deadline=None)
@given(records())
def test_no_bytes_end_in_an_error_and_every_event_is_accounted_for(arriving: list[Record]) -> None:
    """Events are lines, duplicates or rejects; rejects have a code, one line of reason and bytes; no trace is left."""
    rater = Rater(CATALOG, durable=False)

    for record in arriving:
        before = states_of(rater)
        outcome = rater.rate(record)
        check(record, outcome)
        if outcome.customer is None:
            assert states_of(rater) == before


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([EVENTS_TOPIC, GRANTS_TOPIC]))
def test_arbitrary_bytes_are_dead_letters(value: bytes, topic: str) -> None:
    """Noise gives at least one dead letter and no line."""
    outcome = Rater(CATALOG, durable=False).rate(Record(topic, 0, 0, ms(NOON), b"acme", value))

    assert outcome.dead_letters
    assert outcome.lines == []

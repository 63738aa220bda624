import json
from typing import Any

import pytest

from pipeline.domain.records import GRANTS_TOPIC
from pipeline.domain.rejects import CODES
from pipeline.rating.rater import Outcome, Rater
from tests.domain.world import World, snapshot
from tests.rating.support import event, record

LARGE = (1 << 20) + 1
TOP_UP = {"type": "topup", "id": "t", "customer": "acme", "amount": "1"}


def rater() -> Rater:
    return Rater(World().catalog, durable=False)


def rejects(outcome: Outcome) -> list[tuple[int | None, str]]:
    return [(letter.index, letter.code) for letter in outcome.dead_letters]


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize(
    ("value", "key", "index", "code"),
    [
        (b"{", None, None, "malformed"),
        (b"[]".ljust(LARGE), None, None, "malformed"),
        (b"{}".ljust(LARGE), None, None, "too_large"),
        (json.dumps(event("a", subject="other")).encode().ljust(LARGE), None, None, "too_large"),
        (b'{"id":1,"id":1}', None, 0, "malformed"),
        (b"[17]", None, 0, "malformed"),
        (event("a", subject="other", quantity=-1), None, 0, "invalid_field"),
        (event("a", time="2099-01-01T00:00:00Z", source="nowhere"), "other", 0, "wrong_key"),
        (event("a", subject="nobody", time="2099-01-01T00:00:00Z"), "nobody", 0, "time_in_future"),
        (event("a", subject="nobody", source="nowhere"), "nobody", 0, "unknown_customer"),
        (event("a", source="nowhere", time="1999-01-01T00:00:00Z"), "acme", 0, "unknown_deployment"),
        (event("a", source="dep-other", model="huge"), "acme", 0, "wrong_customer"),
        (event("a", source="dep-air", time="1999-01-01T00:00:00Z"), "acme", 0, "air_gapped"),
        (event("taken", time="1999-01-01T00:00:00Z"), "acme", 0, "id_conflict"),
        (event("a", time="1999-01-01T00:00:00Z", model="huge", cost=None), "acme", 0, "no_subscription"),
        (event("a", model="huge", cost=None), "acme", 0, "unknown_price"),
    ],
)
def test_the_earliest_code_wins_from_bytes_to_price(value: Any, key: str | None, index: int | None, code: str) -> None:
    """A record with several faults is rejected for the first; records come before events, form before meaning."""
    rating = rater()
    rating.rate(record(0, event("taken")))
    before = snapshot(rating.state_of("acme"))

    outcome = rating.rate(record(1, value, key=key))

    assert rejects(outcome) == [(index, code)]
    assert (outcome.lines, outcome.customer) == ([], None)
    assert snapshot(rating.state_of("acme")) == before


@pytest.mark.rule("R2.3")
def test_the_other_events_of_a_batch_go_on() -> None:
    """Each event stands for itself: faulty ones are rejected at their index with their bytes, the others are rated."""
    parts = [
        json.dumps(event("a")).encode(),
        b'{"id": "twice", "id" : "twice"}',
        b" 17",
        json.dumps(event("b", source="nowhere")).encode(),
        json.dumps(event("a")).encode(),
        json.dumps(event("a", quantity=2)).encode(),
        json.dumps(event("c")).encode(),
        b"NaN",
    ]

    outcome = rater().rate(record(5, b"[" + b" , ".join(parts) + b"]"))

    assert [(line.seq, line.event_id) for line in outcome.lines] == [(1, "a"), (2, "c")]
    assert (outcome.events, outcome.duplicates) == (8, 1)
    assert rejects(outcome) == [
        (1, "malformed"), (2, "malformed"), (3, "unknown_deployment"), (5, "id_conflict"), (7, "malformed"),
    ]  # fmt: skip
    assert [letter.original for letter in outcome.dead_letters] == [parts[index].strip() for index in (1, 2, 3, 5, 7)]


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("value", [b"nonsense", b'[{"a": 1}', b"[]", None])
def test_a_whole_record_is_kept_as_sent(value: bytes | None) -> None:
    """A record that is rejected as a whole has no index, and its bytes are its original."""
    outcome = rater().rate(record(0, value or b"")._replace(value=value))

    (letter,) = outcome.dead_letters
    assert (letter.index, letter.original, outcome.events) == (None, value or b"", 0)


@pytest.mark.rule("R2.3", "R2.5")
@pytest.mark.parametrize(
    ("value", "key", "code"),
    [
        (b"{", None, "malformed"),
        (b"[]", "acme", "malformed"),
        (TOP_UP | {"amount": "-1"}, "other", "invalid_field"),
        (TOP_UP | {"customer": "nobody"}, "acme", "wrong_key"),
        (TOP_UP | {"customer": "nobody"}, "nobody", "unknown_customer"),
    ],
)
def test_grants_are_rejected_as_whole_records_in_the_same_order(value: Any, key: str | None, code: str) -> None:
    """A record of grants is one grant: its reject has no index, and leaves the customer unknown."""
    rating = rater()

    outcome = rating.rate(record(0, value, key=key, topic=GRANTS_TOPIC))

    assert rejects(outcome) == [(None, code)]
    assert (outcome.customer, rating.customers()) == (None, set())


@pytest.mark.rule("R2.3")
def test_rejecting_a_full_batch_is_not_slower_than_rating_one() -> None:
    """Ten thousand rejects of one record share one splitting of its bytes: none is split once an event."""
    events = [event(f"e{number}", source="nowhere") for number in range(2_000)]
    batch = record(0, json.dumps(events).encode())

    outcome = rater().rate(batch)

    assert [letter.index for letter in outcome.dead_letters] == list(range(2_000))
    assert [json.loads(letter.original)["id"] for letter in outcome.dead_letters[::500]] == [
        "e0",
        "e500",
        "e1000",
        "e1500",
    ]
    assert {letter.code for letter in outcome.dead_letters} <= set(CODES)

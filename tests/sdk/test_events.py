"""The events that the SDK makes are those that the worker takes."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.records import decode_events
from pipeline.domain.events import COUNT_MAX, Release, Reserve, UsageEvent
from pipeline.domain.money import parse_decimal
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from pipeline.sdk.events import (
    InvalidEvent,
    Sender,
    UsageFields,
    new_id,
    release_event,
    reserve_event,
    usage_event,
)
from tests.sdk.support import USED

SENDER = Sender("dep_acme_prod", "acme", "production")
TEXT = st.text(max_size=130)
COUNT = st.integers(-1, COUNT_MAX + 1) | st.none()
FIELDS = st.fixed_dictionaries(
    {"workspace": TEXT, "feature": TEXT, "model": TEXT, "unit": TEXT},
    optional={
        "quantity": COUNT,
        "input_tokens": COUNT,
        "cached_input_tokens": COUNT,
        "output_tokens": COUNT,
        "cost": st.decimals(0, 10**6, places=13) | st.decimals(0, 10**6, places=12) | TEXT | st.none(),
        "route": st.sampled_from(["routed", "byok", "other", None]),
        "status": st.sampled_from(["succeeded", "failed", "other", None]),
        "operation": TEXT | st.none(),
        "request_type": TEXT | st.none(),
        "id": TEXT | st.none(),
        "time": st.datetimes(timezones=st.just(UTC)) | TEXT | st.none(),
    },
)


def as_the_worker_reads(event: bytes) -> UsageEvent | Reserve | Release:
    (decoded,) = decode_events(Record(EVENTS_TOPIC, 0, 0, 0, b"acme", event))
    assert not isinstance(decoded, Rejected), decoded
    return decoded


@pytest.mark.rule("R2.2")
@given(FIELDS)
def test_what_is_taken_is_what_the_worker_reads(fields: UsageFields) -> None:
    """An event that the SDK takes has the same fields for the worker; one that it does not take raises InvalidEvent."""
    try:
        identity, made = usage_event(SENDER, fields)
    except InvalidEvent:
        return

    event = as_the_worker_reads(made)

    assert isinstance(event, UsageEvent)
    assert (event.id, event.source, event.customer) == (fields.get("id") or identity, "dep_acme_prod", "acme")
    assert event.quantity == (1 if fields.get("quantity") is None else fields["quantity"])
    assert event.input_tokens == (fields.get("input_tokens") or 0)
    assert event.operation == fields.get("operation")
    assert event.failed == (fields.get("status") == "failed")
    cost = fields.get("cost")
    assert event.cost_pico == (
        None if cost is None else parse_decimal(f"{cost:f}" if isinstance(cost, Decimal) else cost)
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cost": 0.1}, "data.cost: must be a string"),
        ({"cost": Decimal("NaN")}, "data.cost"),
        ({"quantity": 1.0}, "data.quantity: must be an integer"),
        ({"quantity": True}, "data.quantity: must be an integer"),
        ({"quantiy": 3}, "quantiy: there is no such field"),
        ({"model": None}, "data.model: required"),
        ({"feature": "\ud800"}, "invalid_field"),
        ({"time": datetime(2026, 11, 3)}, "time: a datetime needs a time zone"),  # noqa: DTZ001
        ({"time": 1_700_000_000}, "time: must be a string"),
        ({"id": ""}, "id: must have 1 to 128 characters"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, object], message: str) -> None:
    """The message of an event that is not taken names the field."""
    with pytest.raises(InvalidEvent, match=message):
        usage_event(SENDER, USED | fields)


def test_a_time_of_another_zone_is_converted() -> None:
    """A datetime with an offset is the instant that it means."""
    _, made = usage_event(SENDER, USED | {"time": datetime(2026, 11, 3, 1, tzinfo=timezone(timedelta(hours=2)))})

    assert json.loads(made)["time"] == "2026-11-02T23:00:00.000000Z"


def test_reservations_and_releases_are_read_by_the_worker() -> None:
    """The other two types have the form that the worker reads."""
    identity, reserve = reserve_event(SENDER, USED | {"quantity": 3}, 60)
    _, commit = usage_event(SENDER, USED, identity)
    _, release = release_event(SENDER, identity)

    reserved, committed, released = map(as_the_worker_reads, (reserve, commit, release))

    assert isinstance(reserved, Reserve)
    assert (reserved.id, reserved.ttl_s, reserved.usage.quantity) == (identity, 60, 3)
    assert isinstance(committed, UsageEvent)
    assert committed.reservation == identity
    assert isinstance(released, Release)
    assert released.reservation == identity


def test_ids_are_of_version_7_and_in_order_of_time() -> None:
    """Ids are UUIDs that sort by the millisecond in which they were made."""
    ids = [new_id() for _ in range(1000)]

    assert len(set(ids)) == len(ids)
    assert {(UUID(each).version, UUID(each).variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert [each[:13] for each in ids] == sorted(each[:13] for each in ids)

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain import instants
from pipeline.domain.catalog import Plan, Subscription
from pipeline.domain.instants import format_instant, parse_instant
from pipeline.domain.periods import period_at, window_start
from tests.domain.world import CENT, World, at, ms


@pytest.mark.rule("R3.1", "R7.1")
@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-1439, 1439))  # noqa: DTZ001 - hypothesis wants them bare
def test_a_time_with_any_offset_is_the_same_instant(time: datetime, offset_minutes: int) -> None:
    """A time with an offset prints as the same instant in UTC with microseconds."""
    zoned = time.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=offset_minutes)))

    assert format_instant(parse_instant(zoned.isoformat())) == time.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


@pytest.mark.rule("R2.2")
def test_digits_beyond_microseconds_are_cut() -> None:
    """Nanoseconds are cut, not rounded."""
    assert format_instant(parse_instant("2026-11-03T10:22:33.1234569Z")) == "2026-11-03T10:22:33.123456Z"


@pytest.mark.rule("R2.2")
@pytest.mark.parametrize(
    "text",
    ["yesterday", "2026-11-03", "2026-11-03T10:22:33", "2026-02-30T00:00:00Z", "2026-11-03T24:00:00Z",
     "2026-11-03 10:22:33Z", "2026-11-03T10:22:33+24:00", "0001-01-01T00:00:00+01:00", "2026-11-03T10:22:60Z"],
)  # fmt: skip
def test_what_is_no_rfc3339_time_is_refused(text: str) -> None:
    """A time needs a real day, a time of day and an offset."""
    with pytest.raises(ValueError, match=r".+"):
        parse_instant(text)


FRACTIONS = st.text("0123456789", max_size=8).map(lambda digits: f".{digits}") | st.sampled_from(
    [".١٢٣", ".12²", "..123", ",123"]
)
OFFSETS = st.sampled_from(
    ["Z", "z", "+00:00", "-00:00", "+01:00", "-11:30", "+23:59", "+24:00", "+0000", "", "ZZ", " Z", "Z\n", "+00:0٣"]
)
DATES = st.sampled_from(
    ["2026-11-03", "2028-02-29", "2026-02-29", "2026-13-01", "0001-01-01", "9999-12-31", "0000-01-01", "26-11-03"]
)
SEPARATORS = st.sampled_from(["T", "T", "T", "t", " ", "", "TT"])
CLOCKS = st.sampled_from(
    [
        "00:00:00",
        "23:59:59",
        "10:22:33",
        "24:00:00",
        "10:60:33",
        "10:22:60",
        "10:22",
        "1٣:22:33",
        "10:22:3",
        "10:22:333",
    ]
)
TIMES = st.tuples(DATES, SEPARATORS, CLOCKS, st.just("") | FRACTIONS, OFFSETS).map("".join)


def outcome(parse: Callable[[str], int], text: str) -> int | str:
    try:
        return parse(text)
    except ValueError as error:
        return str(error)


@pytest.mark.rule("R2.2", "R3.1")
@settings(max_examples=2000)
@given(TIMES | st.from_regex(instants._RFC3339, fullmatch=True), st.integers(0, 2**32))
def test_the_usual_forms_of_a_time_are_read_as_all_others(text: str, seed: int) -> None:
    """The short way for what most senders send gives the instant, or the error, of the reference: for damaged texts too."""
    rng = Random(seed)
    at = rng.randrange(len(text) + 1)
    damaged = (
        text[:at]
        + rng.choice(["", "0", "9", ".", "-", ":", "Z", "T", " ", "٣", "\x00", text])
        + text[at + rng.randrange(3) :]
    )

    for each in (text, damaged):
        assert outcome(parse_instant, each) == outcome(instants._parse_any, each)


@pytest.mark.rule("R3.1")
@pytest.mark.parametrize(
    ("time", "anchor", "name", "end"),
    [
        ("2026-11-01T00:00:00Z", 1, "2026-11-01", "2026-12-01"),
        ("2026-10-31T23:59:59.999999Z", 1, "2026-10-01", "2026-11-01"),
        ("2026-11-14T23:59:59Z", 15, "2026-10-15", "2026-11-15"),
        ("2026-01-05T00:00:00Z", 28, "2025-12-28", "2026-01-28"),
        ("2028-02-29T12:00:00Z", 28, "2028-02-28", "2028-03-28"),
    ],
)
def test_a_period_runs_from_anchor_day_to_anchor_day(time: str, anchor: int, name: str, end: str) -> None:
    """A period begins on its anchor day, is named by it, and ends where the next begins."""
    period = period_at(at(time), anchor)

    assert period.name == name
    assert period.end_us == at(f"{end}T00:00:00Z")


@pytest.mark.rule("R4.2")
def test_windows_are_utc_days_and_hours() -> None:
    """Day and hour windows begin on the full UTC day and hour."""
    instant = at("2026-11-10T12:34:56.789Z")

    assert window_start("day", instant) == at("2026-11-10T00:00:00Z")
    assert window_start("hour", instant) == at("2026-11-10T12:00:00Z")
    assert window_start("period", instant) == -1


@pytest.mark.rule("R3.2")
def test_an_event_is_late_from_the_end_of_its_grace_on() -> None:
    """At end + grace an event of the closed period is posted at the record's time; a moment before, at its own."""
    world = World(grace_hours=72)

    in_time = world.line(time="2026-10-31T10:00:00Z", sent="2026-11-03T23:59:59.999Z")
    late = world.line(time="2026-10-31T10:00:00Z", sent="2026-11-04T00:00:00Z")

    own, records = "2026-10-31T10:00:00.000000Z", "2026-11-04T00:00:00.000000Z"
    assert (in_time.late, in_time.period, in_time.time, in_time.posted_at) == (False, "2026-10-01", own, own)
    assert (late.late, late.period, late.time, late.posted_at) == (True, "2026-11-01", own, records)


@pytest.mark.rule("R3.2")
def test_the_watermark_is_moved_by_events_duplicates_and_grants_but_not_by_rejects() -> None:
    """Whatever is accepted moves the watermark; what is rejected does not; it never falls."""
    world = World(grace_hours=0)
    event = world.event(time="2026-11-02T00:00:00Z")

    world.send(event)
    world.send(event, sent="2026-11-05T00:00:00Z")
    assert world.state.watermark_ms == ms("2026-11-05T00:00:00Z")
    world.grant("g", 1, sent="2026-11-06T00:00:00Z")
    assert world.state.watermark_ms == ms("2026-11-06T00:00:00Z")
    world.code(world.event(source="nowhere"), sent="2026-12-06T00:00:00Z")
    world.line(time="2026-11-01T00:00:00Z", sent="2026-11-01T00:00:00Z")
    assert world.state.watermark_ms == ms("2026-11-06T00:00:00Z")


@pytest.mark.rule("R3.2", "R4.3")
def test_a_late_event_is_rated_under_the_plan_of_its_posting_time() -> None:
    """Posting time decides plan and prices; without a subscription at its own time the event is rejected all the same."""
    world = World(grace_hours=0)
    dearer = Plan("team", 2, "docflow", failed="cost")
    november = at("2026-11-01T00:00:00Z")
    world.subscribe(
        Subscription("acme", world.plan, at("2026-10-01T00:00:00Z"), november), Subscription("acme", dearer, november)
    )

    late = world.line(time="2026-10-31T10:00:00Z", sent="2026-11-01T00:00:00Z", failed=True)
    too_old = world.event(time="2026-09-30T10:00:00Z")

    assert (late.plan_version, late.charge_pico) == (2, CENT)
    assert world.code(too_old, sent="2026-11-01T00:00:00Z") == "no_subscription"

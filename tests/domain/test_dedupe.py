import pytest
from msgspec.structs import replace

from tests.domain.world import CENT, NOON, World, at, match, snapshot

SENT = "2026-11-10T12:00:00Z"
EXACTLY_35_DAYS_ON = "2026-12-15T12:00:00Z"
A_MILLISECOND_MORE = "2026-12-15T12:00:00.001Z"
OTHER = {
    "time_us": at(NOON) - 1,
    "environment": "staging",
    "workspace": "ops",
    "feature": "rewrite",
    "model": "large",
    "unit": "page",
    "quantity": 2,
    "input_tokens": 1,
    "cached_input_tokens": 1,
    "output_tokens": 1,
    "cost_pico": CENT + 1,
    "byok": True,
    "failed": True,
    "operation": "job",
    "request_type": "chat",
}


@pytest.mark.rule("R6.1")
def test_the_same_event_again_is_a_duplicate() -> None:
    """A resent event gives no line and takes nothing from any pool."""
    world = World()
    world.grant("g", 5)
    event = world.event()
    world.send(event, SENT)
    before = snapshot(world.state)

    again = world.send(event, SENT)

    assert again is None
    assert snapshot(world.state) == before


@pytest.mark.rule("R6.1")
@pytest.mark.parametrize("field", OTHER)
def test_other_content_under_the_same_identity_is_a_conflict(field: str) -> None:
    """Time and every field of data belong to the content: a difference in one is id_conflict."""
    world = World()
    event = world.event()
    world.send(event, SENT)

    assert world.code(replace(event, **{field: OTHER[field]}), SENT) == "id_conflict"
    assert world.send(event, SENT) is None


@pytest.mark.rule("R6.1")
def test_an_absent_cost_differs_from_a_cost_of_nothing() -> None:
    """An event that reports a cost of 0 is another fact than one that reports none."""
    world = World()
    event = world.event(cost_pico=None)
    world.send(event, SENT)

    assert world.code(replace(event, cost_pico=0), SENT) == "id_conflict"


@pytest.mark.rule("R6.1")
def test_fields_do_not_run_into_each_other() -> None:
    """Two events whose fields read the same when put together are still different."""
    world = World()
    event = world.event(workspace="ab", feature="c")
    world.send(event, SENT)

    assert world.code(replace(event, workspace="a", feature="bc"), SENT) == "id_conflict"


@pytest.mark.rule("R6.1")
def test_identity_is_the_source_and_the_id() -> None:
    """The same id from another deployment is another event."""
    world = World()
    event = world.event()
    world.send(event, SENT)

    assert world.send(replace(event, source="dep2"), SENT) is not None
    assert world.send(replace(event, id="another"), SENT) is not None


@pytest.mark.rule("R6.1")
def test_duplicates_are_known_for_exactly_35_days() -> None:
    """At 35 days of record time an event is still a duplicate; a millisecond later it is new."""
    world = World(grace_hours=1000)
    event = world.event()
    world.send(event, SENT)

    assert world.send(event, EXACTLY_35_DAYS_ON) is None
    again = world.send(event, A_MILLISECOND_MORE)

    assert again is not None
    assert again[0].seq == 2


@pytest.mark.rule("R6.1")
def test_identities_outlive_the_days_between() -> None:
    """Other events on the days between, even at the very end of the horizon, do not make an identity forgotten."""
    world = World(grace_hours=1000)
    event = world.event(time="2026-11-10T00:00:00Z")
    world.send(event)

    for between in ("2026-11-11T00:00:00Z", "2026-12-14T23:59:59Z", "2026-12-15T00:00:00Z"):
        world.line(time=between)

    assert world.send(event, "2026-12-15T00:00:00Z") is None


@pytest.mark.rule("R6.1")
def test_conflicts_are_known_for_exactly_35_days() -> None:
    """Other content under an old identity is a conflict at 35 days and a new event a millisecond later."""
    world = World(grace_hours=1000)
    event = world.event()
    world.send(event, SENT)

    assert world.code(replace(event, quantity=2), EXACTLY_35_DAYS_ON) == "id_conflict"
    assert world.send(replace(event, quantity=2), A_MILLISECOND_MORE) is not None


@pytest.mark.rule("R6.1")
def test_a_duplicate_does_not_renew_the_horizon() -> None:
    """The 35 days count from the acceptance, however often the event is resent meanwhile."""
    world = World(grace_hours=1000)
    event = world.event()
    world.send(event, SENT)
    world.send(event, "2026-12-01T00:00:00Z")

    assert world.send(event, A_MILLISECOND_MORE) is not None


@pytest.mark.rule("R6.1", "R3.2")
def test_the_watermark_ends_the_horizon_not_the_records_own_time() -> None:
    """A record that comes behind the watermark is judged by the watermark."""
    world = World(grace_hours=1000)
    event = world.event()
    world.send(event, SENT)
    world.grant("later", 1, sent=A_MILLISECOND_MORE)

    assert world.send(event, SENT) is not None


@pytest.mark.rule("R6.1")
def test_a_rejected_event_leaves_its_identity_free() -> None:
    """After a rejection another fact may be sent under the same id."""
    world = World()
    event = world.event(model="huge", cost_pico=None)

    assert world.code(event) == "unknown_price"
    assert world.send(replace(event, model="small")) is not None


@pytest.mark.rule("R6.1")
def test_memory_of_identities_is_bounded_by_the_horizon() -> None:
    """What can no longer be a duplicate is forgotten when the watermark enters another day."""
    world = World(grace_hours=1000)
    for _ in range(10):
        world.line(time=SENT)

    world.line(time="2026-12-16T00:00:00Z")

    assert len(world.state.identities) == 1


@pytest.mark.rule("R6.1", "R6.4")
def test_a_match_is_no_content() -> None:
    """A duplicate stays one when the terms that it was rated under have changed."""
    world = World()
    event = world.event()
    world.send(event, SENT)
    world.grant("g", 5, match=match(unit="document"))

    assert world.send(event, SENT) is None


@pytest.mark.rule("R6.1")
def test_a_clock_that_ran_ahead_once_does_not_switch_dedupe_off() -> None:
    """After a record far in the future, what comes at the right time is still known when it is sent again."""
    world = World()
    world.line(time="2026-11-01T00:00:00Z", sent="2027-03-01T00:00:00Z")
    event = world.event(time="2026-11-02T00:00:00Z")

    assert world.send(event) is not None
    assert world.send(event) is None
    assert world.code(replace(event, quantity=7)) == "id_conflict"

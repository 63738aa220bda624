from dataclasses import replace

import msgspec
import pytest

from pipeline.domain.admission import Envelope, cost_of
from pipeline.domain.catalog import Deployment, Plan, Subscription
from pipeline.domain.events import UsageEvent
from pipeline.domain.rating import rate_event
from pipeline.domain.rejects import CODES, Rejected
from tests.domain.world import CENT, NOON, World, at, ms, snapshot


def faulty(codes: set[str]) -> tuple[World, UsageEvent, Envelope]:
    """Return an event that earns all of the codes at once, and the world and record in which it does."""
    world = World()
    event = world.event(id="e", time="2026-01-01T00:00:00Z")
    if "id_conflict" in codes:
        world.send(event)
        event = msgspec.structs.replace(event, quantity=2)
    if "unknown_price" in codes:
        event = msgspec.structs.replace(event, model="huge", cost_pico=None)
    if "no_subscription" in codes:
        world.subscribe(Subscription("acme", world.plan, at("2026-02-01T00:00:00Z")))
    deployment = world.catalog.deployments["dep"]
    if "air_gapped" in codes:
        deployment = replace(deployment, air_gapped=True)
    if "wrong_customer" in codes:
        deployment = replace(deployment, customer="other")
    deployments = {} if "unknown_deployment" in codes else {"dep": deployment}
    customers = {} if "unknown_customer" in codes else {"acme": "Acme"}
    world.use(replace(world.catalog, deployments=deployments, customers=customers))
    sent_ms = ms("2025-12-31T23:54:59.999Z") if "time_in_future" in codes else ms("2026-01-01T00:00:00Z")
    return world, event, Envelope("other" if "wrong_key" in codes else "acme", sent_ms)


EVENT_CODES = CODES[CODES.index("wrong_key") :]


@pytest.mark.rule("R2.3")
def test_codes_are_those_of_the_spec_in_its_order() -> None:
    """The codes stand in the order in which the rule lists them."""
    assert CODES == (
        "malformed", "too_large", "invalid_field", "wrong_key", "time_in_future", "unknown_customer",
        "unknown_deployment", "wrong_customer", "air_gapped", "id_conflict", "no_subscription", "unknown_price",
    )  # fmt: skip


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("first", range(len(EVENT_CODES)))
@pytest.mark.parametrize("with_all_later", [False, True], ids=["alone", "with all later faults"])
def test_the_earliest_code_wins(first: int, with_all_later: bool) -> None:
    """An event with several faults is rejected for the one that is checked first, and leaves no trace."""
    last = None if with_all_later else first + 1
    world, event, envelope = faulty(set(EVENT_CODES[first:last]))
    before = snapshot(world.state)

    with pytest.raises(Rejected) as caught:
        rate_event(world.terms, world.state, event, envelope)

    assert caught.value.code == EVENT_CODES[first]
    assert snapshot(world.state) == before


@pytest.mark.rule("R2.3")
def test_an_event_without_a_fault_is_accepted() -> None:
    """The table above rejects for its faults only: with none of them the event gives a line."""
    world, event, envelope = faulty(set())

    assert rate_event(world.terms, world.state, event, envelope) is not None


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize(("owner", "code"), [(None, "unknown_deployment"), ("other", "wrong_customer")])
def test_a_rejected_event_can_be_sent_again_once_the_cause_is_mended(owner: str | None, code: str) -> None:
    """The same event under the same id is accepted after the catalog was mended, as the customer's first line."""
    world = World()
    if owner:
        world.catalog.deployments["new"] = Deployment("new", owner, "docflow")
    event = world.event(source="new")

    assert world.code(event, sent="2026-12-10T12:00:00Z") == code
    world.catalog.deployments["new"] = Deployment("new", "acme", "docflow")
    rated = world.send(event)

    assert rated is not None
    assert (rated[0].seq, rated[0].late) == (1, False)


@pytest.mark.rule("R2.3", "R4.4")
@pytest.mark.parametrize(
    ("changes", "envelope", "code"),
    [
        ({"customer": "other"}, {}, "wrong_key"),
        ({}, {"key": "other"}, "wrong_key"),
        ({"time": "2026-11-10T12:05:00.001Z"}, {}, "time_in_future"),
        ({"source": "dep-air"}, {}, "air_gapped"),
        ({"id": "known", "quantity": 2}, {}, "id_conflict"),
        ({"time": "2025-12-31T12:00:00Z"}, {}, "no_subscription"),
        ({"model": "huge", "cost_pico": None}, {}, "unknown_price"),
    ],
)
def test_events_of_a_known_shape_are_admitted_one_by_one(changes: dict, envelope: dict, code: str) -> None:
    """What was worked out for an accepted event lets none through that only looks like it."""
    world = World()
    shape = {name: changes[name] for name in ("source", "model") if name in changes}
    for identity in ("known", "another"):
        assert world.send(world.event(id=identity, **shape), NOON, offline=True)

    assert world.code(world.event(**changes), NOON, **envelope) == code
    assert world.send(world.event(**shape), NOON, offline=True)


@pytest.mark.rule("R2.4")
def test_time_may_run_five_minutes_ahead() -> None:
    """A time 5 minutes after the record's timestamp is accepted, a microsecond more is time_in_future."""
    world = World()

    world.line(time="2026-11-10T12:05:00Z", sent=NOON)

    assert world.code(world.event(time="2026-11-10T12:05:00.000001Z"), sent=NOON) == "time_in_future"


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("key", [None, "", "ACME", "acme ", "other"])
def test_the_subject_must_be_the_key(key: str | None) -> None:
    """A record without a key, or with any other text as key, is wrong_key."""
    world = World()

    assert world.code(world.event(), key=key) == "wrong_key"


@pytest.mark.rule("R4.4")
def test_air_gapped_deployments_come_by_import_only() -> None:
    """An air-gapped deployment's event is rejected unless its record is an offline import."""
    world = World()
    event = world.event(source="dep-air")

    assert world.code(event) == "air_gapped"
    assert world.send(event, offline=True) is not None


@pytest.mark.rule("R4.3")
def test_a_subscription_begins_at_its_start_and_ends_before_its_end() -> None:
    """The plan applies from the start on and no longer at the end."""
    world = World()
    start, end = at("2026-11-02T00:00:00Z"), at("2026-11-20T00:00:00Z")
    world.subscribe(Subscription("acme", world.plan, start, end))

    world.line(time="2026-11-02T00:00:00Z")
    world.line(time="2026-11-19T23:59:59.999999Z", sent="2026-11-20T00:00:00Z")

    assert world.code(world.event(time="2026-11-01T23:59:59.999999Z"), sent=NOON) == "no_subscription"
    assert world.code(world.event(time="2026-11-20T00:00:00Z")) == "no_subscription"


@pytest.mark.rule("R4.3")
def test_the_subscription_is_to_the_deployments_app() -> None:
    """A subscription to another app does not carry a deployment's events."""
    world = World()
    world.catalog.deployments["desk"] = Deployment("desk", "acme", "helpdesk")

    assert world.code(world.event(source="desk")) == "no_subscription"


@pytest.mark.rule("R3.2")
def test_a_late_event_needs_a_subscription_at_its_posting_time() -> None:
    """A late event whose posting time has no subscription is rejected."""
    world = World(grace_hours=0)
    world.subscribe(Subscription("acme", world.plan, at("2026-10-01T00:00:00Z"), at("2026-11-01T00:00:00Z")))

    event = world.event(time="2026-10-31T10:00:00Z")

    assert world.code(event, sent="2026-11-01T00:00:00Z") == "no_subscription"
    assert world.send(event, sent="2026-10-31T23:59:59.999Z") is not None


@pytest.mark.rule("R5.2")
@pytest.mark.parametrize(
    ("fields", "cost_pico"),
    [
        ({"input_tokens": 3, "cached_input_tokens": 5, "output_tokens": 7}, 3 * 250_000 + 5 * 25_000 + 7 * 2_000_000),
        ({"input_tokens": 3, "cost_pico": 42}, 42),
        ({"input_tokens": 3, "cost_pico": 0}, 0),
        ({"model": "huge", "cost_pico": 42}, 42),
        ({"input_tokens": 3, "byok": True}, 0),
        ({"byok": True, "cost_pico": 42}, 0),
        ({"byok": True, "model": "huge"}, 0),
        ({}, 0),
    ],
)
def test_cost_is_given_or_comes_from_tokens(fields: dict, cost_pico: int) -> None:
    """A given cost counts, else tokens at the model's prices; one's own key costs the platform nothing."""
    world = World()
    event = world.event(**{"cost_pico": None, **fields})

    assert cost_of(event, world.catalog.models.get(event.model)) == cost_pico


@pytest.mark.rule("R5.2")
@pytest.mark.parametrize("fields", [{}, {"failed": True}, {"environment": "staging"}, {"quantity": 0}])
def test_a_model_outside_the_catalog_needs_a_cost(fields: dict) -> None:
    """Without a cost it is unknown_price whatever the kind would be; with one it has class standard."""
    world = World(Plan("team", 1, "docflow", environments=frozenset({"production"})))

    assert world.code(world.event(model="huge", cost_pico=None, **fields)) == "unknown_price"
    assert world.line(model="huge", cost_pico=CENT, **fields).model_class == "standard"
    assert world.line(model="large", **fields).model_class == "premium"

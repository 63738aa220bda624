"""Reservations: what they hold, and how they end (R9)."""

import pytest

from pipeline.domain.admission import Envelope
from pipeline.domain.catalog import Allowance, Budget
from pipeline.domain.events import Release, Reserve, UsageEvent, committing, parse_event
from pipeline.domain.holds import HOLDS_MAX
from pipeline.domain.instants import parse_instant
from pipeline.domain.rating import rate_event
from pipeline.domain.rejects import Rejected
from pipeline.domain.reservations import apply_reservation
from tests.domain.test_decisions import ask
from tests.domain.world import CENT, NOON, World, at, snapshot

TWO_DOCS = {"allowances": (Allowance("docs", 2),), "overage": {"default": "block"}}


def envelope(sent: str = NOON) -> Envelope:
    return Envelope("acme", parse_instant(sent) // 1000)


def reserve(world: World, name: str, sent: str = NOON, ttl_s: int = 60, **changes: object) -> str | None:
    """Ask for a reservation and return why it is refused, None when it is held."""
    usage = world.event(id=name, time=sent, **changes)
    assert apply_reservation(world.terms, world.state, Reserve(usage, ttl_s), envelope(sent))
    answer = world.state.answers.pop()
    assert (answer.source, answer.id) == (usage.source, name)
    return answer.refused


def release(world: World, name: str, source: str = "dep", sent: str = NOON) -> bool:
    gone = Release(f"x-{name}-{source}", source, "acme", parse_instant(sent), name)
    return apply_reservation(world.terms, world.state, gone, envelope(sent))


def commit(world: World, name: str, sent: str = NOON, **changes: object) -> object:
    event = committing(world.event(time=sent, **changes), name)
    return rate_event(world.terms, world.state, event, envelope(sent))


def held(world: World) -> list[str]:
    return [name for _, name in world.state.holds]


@pytest.mark.rule("R9.2", "R9.6")
def test_what_is_held_counts_in_decisions_and_not_in_lines() -> None:
    """Held units are gone for who asks, and still there for what is rated."""
    world = World(**TWO_DOCS)

    assert reserve(world, "r1", quantity=2) is None

    assert not ask(world).allowed
    assert world.line(quantity=2).included == 2


@pytest.mark.rule("R9.2")
def test_a_reservation_that_does_not_fit_is_refused() -> None:
    """Of two that want the last units, the first in the log has them; the other is told why, and may ask again."""
    world = World(**TWO_DOCS)

    assert reserve(world, "r1", quantity=2) is None
    assert reserve(world, "r2") == "overage_blocked"
    assert release(world, "r1")
    assert reserve(world, "r3") is None
    assert held(world) == ["r3"]


@pytest.mark.rule("R9.2")
def test_a_budget_is_shared_without_a_race() -> None:
    """What is held of a budget of units cannot be held again; what was spent and what is held never exceed it."""
    world = World(budgets=(Budget("cap", blocks=True, quantity=5),))
    world.line(quantity=2)

    assert [reserve(world, f"r{number}") for number in range(4)] == [None, None, None, "budget_exhausted"]


@pytest.mark.rule("R9.2")
def test_an_amount_is_held_at_its_price() -> None:
    """A budget of money counts what the held calls would cost."""
    world = World(budgets=(Budget("cap", blocks=True, amount_pico=3 * CENT),))

    assert [reserve(world, f"r{number}") for number in range(4)] == [None, None, None, "budget_exhausted"]


@pytest.mark.rule("R9.2")
def test_a_wallet_is_held_too() -> None:
    """Reservations lower what is left of the wallet for others."""
    world = World(overage={"default": "prepaid"})
    world.top_up("t", 2 * CENT)

    assert [reserve(world, f"r{number}") for number in range(3)] == [None, None, "wallet_empty"]
    assert world.state.wallet_pico == 2 * CENT


@pytest.mark.rule("R9.3")
def test_a_reservation_ends_by_record_time() -> None:
    """It holds until the watermark, or in a decision the clock of who asks, reaches its end, and not a moment longer."""
    world = World(**TWO_DOCS)
    reserve(world, "r1", quantity=2, ttl_s=60)

    assert not ask(world, "2026-11-10T12:00:59.999Z").allowed
    assert ask(world, "2026-11-10T12:01:00Z").allowed
    assert reserve(world, "r2", "2026-11-10T12:01:00Z", quantity=2) is None
    assert held(world) == ["r2"]


@pytest.mark.rule("R9.3")
def test_a_reservation_from_before_the_watermark_may_be_over_at_once() -> None:
    """One whose end has passed when it is read is refused."""
    world = World()
    world.line("2026-11-10T12:10:00Z")

    assert reserve(world, "r1", NOON, ttl_s=600) == "expired"
    assert reserve(world, "r2", NOON, ttl_s=601) is None


@pytest.mark.rule("R9.4")
def test_a_commit_ends_the_reservation_and_is_rated_as_used() -> None:
    """The event that commits is rated with its own quantity; the rest of what was held is free again."""
    world = World(**TWO_DOCS)
    reserve(world, "r1", quantity=2)

    rated = commit(world, "r1", quantity=1)

    assert rated is not None
    assert rated[0].included == 1
    assert held(world) == []
    assert ask(world).allowed


@pytest.mark.rule("R9.4")
def test_a_reservation_is_committed_once() -> None:
    """A second commit is billed as the fact that it is, and ends nothing that others hold."""
    world = World(allowances=(Allowance("docs", 3),))
    reserve(world, "r1")
    reserve(world, "r2")

    commit(world, "r1")
    commit(world, "r1")

    assert held(world) == ["r2"]
    assert world.state.seq == 2


@pytest.mark.rule("R9.4")
def test_usage_is_billed_after_its_reservation_has_ended() -> None:
    """What was used is never lost because it was reported late."""
    world = World(**TWO_DOCS)
    reserve(world, "r1", ttl_s=1)

    rated = commit(world, "r1", "2026-11-10T13:00:00Z")

    assert rated is not None
    assert rated[0].included == 1


@pytest.mark.rule("R9.4")
def test_a_failed_call_gives_back_what_it_held() -> None:
    """The event of a call that failed commits too: nothing is used, nothing is held."""
    world = World(**TWO_DOCS)
    reserve(world, "r1", quantity=2)

    commit(world, "r1", failed=True)

    assert held(world) == []
    assert ask(world, quantity=2).included == 2


@pytest.mark.rule("R9.6")
def test_a_call_is_not_in_its_own_way() -> None:
    """Who asks with the reservation that it will commit is not denied by it."""
    world = World(**TWO_DOCS)
    reserve(world, "r1", quantity=2)

    assert ask(world, quantity=2, reservation="r1").allowed
    assert not ask(world, quantity=2, deployment="dep2", reservation="r1").allowed


@pytest.mark.rule("R9.1", "R9.5")
def test_another_deployment_can_not_release_a_reservation() -> None:
    """A reservation belongs to its source; a release of one that is not in force is no fault."""
    world = World(**TWO_DOCS)
    reserve(world, "r1")

    assert release(world, "r1", "dep2")
    assert held(world) == ["r1"]
    assert release(world, "unheard-of")
    assert release(world, "r1")
    assert held(world) == []


@pytest.mark.rule("R9.2")
def test_the_same_reservation_twice_is_one() -> None:
    """A resend is a duplicate, whatever became of the first; with other content it is a conflict."""
    world = World(**TWO_DOCS)
    usage = world.event(id="r1")
    apply_reservation(world.terms, world.state, Reserve(usage, 60), envelope())
    release(world, "r1")

    assert not apply_reservation(world.terms, world.state, Reserve(usage, 60), envelope())
    assert held(world) == []
    before = snapshot(world.state)
    for other in (Reserve(usage, 61), Reserve(world.event(id="r1", quantity=2), 60)):
        with pytest.raises(Rejected, match="id_conflict"):
            apply_reservation(world.terms, world.state, other, envelope())
    assert snapshot(world.state) == before


@pytest.mark.rule("R9.1", "R9.4")
def test_a_call_may_have_one_id_for_everything() -> None:
    """Reservation, usage event and release of one call may bear the same id."""
    world = World(**TWO_DOCS)
    reserve(world, "job-1", quantity=2)

    rated = commit(world, "job-1", id="job-1", quantity=2)

    assert rated is not None
    assert rated[0].included == 2
    assert held(world) == []
    assert apply_reservation(world.terms, world.state, Release("job-1", "dep", "acme", at(NOON), "job-1"), envelope())


@pytest.mark.rule("R9.2", "R3.2")
def test_a_reservation_for_an_hour_that_is_over_is_decided_by_that_hour() -> None:
    """What was used up then is used up for it, though no gate asks about that hour any more."""
    world = World(budgets=(Budget("runaway", blocks=True, quantity=2, per="hour"),))
    world.line(quantity=2, time="2026-11-10T11:55:00Z")
    usage = world.event(time="2026-11-10T11:56:00Z")

    assert apply_reservation(world.terms, world.state, Reserve(usage, 60), envelope("2026-11-10T12:20:00Z"))

    assert world.state.answers[-1].refused == "budget_exhausted"


@pytest.mark.rule("R9.2")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"source": "nowhere"}, "unknown_deployment"),
        ({"source": "dep-air"}, "air_gapped"),
        ({"model": "unheard-of", "cost_pico": None}, "unknown_price"),
        ({"time": "2025-12-01T00:00:00Z"}, "no_subscription"),
        ({"customer": "other"}, "wrong_key"),
    ],
)
def test_a_reservation_is_rejected_like_a_usage_event(changes: dict[str, object], code: str) -> None:
    """For the same causes, without a trace."""
    world = World()
    before = snapshot(world.state)

    with pytest.raises(Rejected, match=code):
        apply_reservation(world.terms, world.state, Reserve(world.event(**changes), 60), envelope())

    assert snapshot(world.state) == before


@pytest.mark.rule("R9.2")
def test_a_customer_holds_a_bounded_number() -> None:
    """Beyond 256 in force, another is refused until one ends."""
    world = World()
    for number in range(HOLDS_MAX):
        assert reserve(world, f"r{number}") is None

    assert reserve(world, "more") == "too_many_reservations"
    commit(world, "r7")
    assert reserve(world, "again") is None


DATA = {"environment": "p", "workspace": "w", "feature": "f", "model": "m", "unit": "u"}
FIELDS = {"specversion": "1.0", "id": "r", "source": "dep", "subject": "acme", "time": NOON}


@pytest.mark.rule("R9.1")
def test_the_three_types_are_read() -> None:
    """A usage event may commit; a reservation has a time to live; a release names one."""
    event = parse_event(FIELDS | {"type": "ai.usage.v1", "data": DATA | {"reservation": "r0"}})
    asked = parse_event(FIELDS | {"type": "ai.usage.reserve.v1", "data": DATA | {"ttl_s": 86_400, "quantity": 2}})
    gone = parse_event(FIELDS | {"type": "ai.usage.release.v1", "data": {"reservation": "r0"}})

    plain = UsageEvent("r", "dep", "acme", parse_instant(NOON), "p", "w", "f", "m", "u")
    assert event == committing(plain, "r0")
    assert isinstance(asked, Reserve)
    assert (asked.id, asked.customer, asked.usage.quantity, asked.ttl_s) == ("r", "acme", 2, 86_400)
    assert gone == Release("r", "dep", "acme", parse_instant(NOON), "r0")


@pytest.mark.rule("R9.1")
@pytest.mark.parametrize(
    ("kind", "data", "names"),
    [
        ("ai.usage.reserve.v1", DATA, "data.ttl_s"),
        ("ai.usage.reserve.v1", DATA | {"ttl_s": 0}, "data.ttl_s"),
        ("ai.usage.reserve.v1", DATA | {"ttl_s": 86_401}, "data.ttl_s"),
        ("ai.usage.reserve.v1", DATA | {"ttl_s": 1.0}, "data.ttl_s"),
        ("ai.usage.reserve.v1", DATA | {"ttl_s": True}, "data.ttl_s"),
        ("ai.usage.reserve.v1", DATA | {"ttl_s": 60, "operation": "o"}, "data.operation"),
        ("ai.usage.reserve.v1", DATA | {"ttl_s": 60, "reservation": "o"}, "data.reservation"),
        ("ai.usage.reserve.v1", DATA | {"ttl_s": 60, "status": "failed"}, "data.status"),
        ("ai.usage.release.v1", {}, "data.reservation"),
        ("ai.usage.release.v1", {"reservation": ""}, "data.reservation"),
        ("ai.usage.v1", DATA | {"reservation": 7}, "data.reservation"),
        ("ai.usage.commit.v1", DATA, "type"),
    ],
)
def test_a_malformed_reservation_is_rejected(kind: str, data: dict[str, object], names: str) -> None:
    """The message names the field."""
    with pytest.raises(Rejected) as caught:
        parse_event(FIELDS | {"type": kind, "data": data})

    assert caught.value.code == "invalid_field"
    assert caught.value.message.startswith(names)

import pytest

from pipeline.domain.catalog import Allowance, Budget, Plan, PriceRow, Subscription, Tier
from pipeline.domain.lines import Line
from pipeline.domain.state import PERIOD
from tests.domain.world import NOON, World, at

TERMS = {
    "app": "docflow",
    "grace_hours": 24,
    "allowances": (Allowance("a", 2), Allowance("d", 1, per="day")),
    "budgets": (Budget("b", blocks=True, quantity=2),),
    "prices": (PriceRow(tiers=(Tier(1, 10), Tier(None, 1))),),
}


def rated(line: Line) -> tuple[str, int, int, int, int]:
    return (line.kind, line.included, line.overage, line.blocked, line.charge_pico)


AFRESH = ("usage", 3, 2, 1, 11)
USED_UP = ("usage", 0, 0, 6, 0)


@pytest.mark.rule("R4.5")
def test_a_new_period_begins_afresh() -> None:
    """Pools, tiers, budgets and operations of one period do not count in the next; the old one goes on in its grace."""
    world = World(Plan("team", 1, **TERMS))

    november = world.line(quantity=6, operation="job", time="2026-11-30T23:59:59Z")
    december = world.line(quantity=6, operation="job", time="2026-12-01T00:00:00Z")
    in_grace = world.line(quantity=6, time="2026-11-30T23:59:59Z", sent="2026-12-01T12:00:00Z")

    assert rated(november) == rated(december) == AFRESH
    assert rated(in_grace) == USED_UP


@pytest.mark.rule("R4.5")
def test_periods_that_are_open_at_once_are_kept_apart() -> None:
    """Events of the old period's grace and of the new period, by turns, each find their own pools, tiers and budgets."""
    world = World(Plan("team", 1, **TERMS))
    old, new = {"time": "2026-11-30T23:59:59Z", "sent": "2026-12-01T12:00:00Z"}, {"time": "2026-12-01T12:00:00Z"}

    lines = [world.line(quantity=quantity, **when) for quantity in (1, 2, 3) for when in (old, new)]

    first, second, third = ("usage", 1, 0, 0, 0), ("usage", 2, 0, 0, 0), ("usage", 0, 2, 1, 11)
    assert [rated(line) for line in lines] == [first, first, second, second, third, third]


@pytest.mark.rule("R4.5", "R4.3")
@pytest.mark.parametrize(("name", "version"), [("team", 2), ("other", 1)])
def test_a_new_plan_or_version_begins_afresh(name: str, version: int) -> None:
    """A change of plan or version within the period starts everything anew, under the same period's name."""
    old, new = Plan("team", 1, **TERMS), Plan(name, version, **TERMS)
    change = at("2026-11-10T00:00:00Z")
    world = World(old)
    world.subscribe(
        Subscription("acme", old, at("2026-01-01T00:00:00Z"), change), Subscription("acme", new, change, None)
    )

    before = world.line(quantity=6, operation="job", time="2026-11-09T23:59:59Z")
    after = world.line(quantity=6, operation="job", time="2026-11-10T00:00:00Z")
    back = world.line(quantity=6, time="2026-11-09T23:59:59Z", sent=NOON)

    assert rated(before) == rated(after) == AFRESH
    assert rated(back) == USED_UP
    assert [line.period for line in (before, after, back)] == ["2026-11-01"] * 3
    assert (after.plan, after.plan_version) == (name, version)


@pytest.mark.rule("R7.2")
def test_lines_count_on_over_periods_plans_and_rejects() -> None:
    """The number rises by one with each line of the customer, whatever happens in between."""
    world = World(Plan("team", 1, **TERMS))
    event = world.event()

    seqs = [world.line().seq, world.line(time="2026-12-05T00:00:00Z").seq]
    world.code(world.event(source="nowhere"))
    world.send(event, "2026-12-05T00:00:00Z")
    world.send(event, "2026-12-05T00:00:00Z")
    seqs.append(world.line(failed=True, time="2026-12-06T00:00:00Z").seq)

    assert seqs == [1, 2, 4]


@pytest.mark.rule("R6.2")
def test_windows_and_operations_are_forgotten_when_no_event_can_ask_for_them() -> None:
    """End of period, grace and 35 days later a day's pools and the operations are dropped; the period's pools stay."""
    world = World(Plan("team", 1, **TERMS))
    world.line(operation="job", time="2026-10-31T00:00:00Z", quantity=4)
    (account,) = world.state.accounts.values()

    world.line(time="2026-12-06T23:59:59Z")
    assert (len(account.windows), len(account.operations)) == (2, 1)
    world.line(time="2026-12-07T00:00:00Z")

    assert not account.operations
    left = [(key, pool, used.balance) for key, each in account.windows.items() for pool, used in each.pools.items()]
    assert left == [((PERIOD, 0), ("a", "", -1), 2)]


def test_what_retires_in_the_middle_of_a_day_is_forgotten_when_the_next_begins() -> None:
    """Forgetting happens only when the watermark enters another UTC day, so that the changelog can drop it together."""
    world = World(grace_hours=12)
    world.line(operation="job", time="2026-10-31T00:00:00Z")
    (account,) = world.state.accounts.values()

    kept = []
    for time in ("2026-12-06T11:59:59Z", "2026-12-06T12:00:00Z", "2026-12-06T23:59:59.999Z", "2026-12-07T00:00:00Z"):
        world.line(time=time)
        kept.append(len(account.operations))

    assert kept == [1, 1, 1, 0]


@pytest.mark.rule("R6.2", "R3.2")
def test_what_is_forgotten_is_not_counted_on_in_memory() -> None:
    """A late event of a retired account finds the pool that a restored worker finds, and counts where it is written."""
    world = World(allowances=(Allowance("d", 1, per="day"),), grace_hours=0)
    late = {"time": "2026-10-30T12:00:00Z", "sent": "2026-10-31T12:00:00Z", "operation": "job"}
    world.line(time="2026-11-01T12:00:00Z")

    before = [world.line(**late), world.line(**late), world.line(**late | {"operation": None})]
    world.line(time="2026-12-07T00:00:00Z")
    after = world.line(**late)

    assert [(line.kind, line.included, line.late) for line in before] == [
        ("usage", 1, True),
        ("repeat", 0, True),
        ("usage", 0, True),
    ]
    assert (after.kind, after.included, after.period) == ("usage", 1, "2026-10-01")
    account = world.state.accounts["team", 1, "2026-10-01"]
    assert [used.balance for each in account.windows.values() for used in each.pools.values()] == [1]
    assert len(account.operations) == 1

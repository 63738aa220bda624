import pytest

from pipeline.domain.catalog import Allowance, Budget, Surcharge
from pipeline.domain.lines import Line
from tests.domain.world import CENT, DOLLAR, World


def units(line: Line) -> tuple[int, int, int, int]:
    return (line.included, line.granted, line.overage, line.blocked)


def money(line: Line) -> tuple[int, int, int, int]:
    return (line.cost_charged_pico, line.margin_pico, line.surcharge_pico, line.charge_pico)


@pytest.mark.rule("R6.2")
@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"byok": True, "environment": "staging", "failed": True, "operation": "job"}, "byok"),
        ({"environment": "staging", "failed": True, "operation": "job"}, "non_billable"),
        ({"failed": True, "operation": "job"}, "failed"),
        ({"operation": "job"}, "repeat"),
        ({}, "usage"),
    ],
)
def test_the_first_kind_that_holds_counts(changes: dict, kind: str) -> None:
    """The route goes before the environment, the status, the operation and usage."""
    world = World(environments=frozenset({"production"}))
    world.line(operation="job")

    assert world.line(**changes).kind == kind


@pytest.mark.rule("R6.2")
def test_without_environments_all_are_billable() -> None:
    """A plan that names no environments bills every one; one that names some bills only those."""
    assert World().line(environment="anything").kind == "usage"
    assert World(environments=frozenset()).line().kind == "non_billable"


@pytest.mark.rule("R6.2")
def test_a_repeat_needs_the_same_source_operation_and_unit() -> None:
    """Another deployment, operation or unit makes no repeat; nor does an event without operation."""
    world = World()
    world.line(operation="job")

    assert world.line(operation="job").kind == "repeat"
    assert world.line(operation="job", source="dep2").kind == "usage"
    assert world.line(operation="job", unit="page").kind == "usage"
    assert world.line(operation="job2").kind == "usage"
    assert world.line().kind == "usage"


@pytest.mark.rule("R6.2")
@pytest.mark.parametrize(
    "changes", [{"quantity": 0}, {"failed": True}, {"byok": True}, {"environment": "staging"}, {"unit": "page"}]
)
def test_only_a_counted_usage_event_makes_the_next_a_repeat(changes: dict) -> None:
    """What had quantity 0, or was not of kind usage, is not repeated by the next event of the operation."""
    world = World(environments=frozenset({"production"}))
    world.line(operation="job", **changes)

    assert world.line(operation="job").kind == "usage"


@pytest.mark.rule("R6.2", "R6.6")
def test_a_further_call_of_a_counted_action_is_a_repeat_even_with_quantity_0() -> None:
    """The earlier event needs a quantity of at least 1, the present one does not."""
    world = World()
    world.line(operation="job")

    assert world.line(operation="job", quantity=0).kind == "repeat"


@pytest.mark.rule("R6.2")
def test_a_blocked_event_counts_as_posted() -> None:
    """A usage event whose units were blocked is repeated all the same."""
    world = World(overage={"default": "block"})
    world.line(operation="job")

    assert world.line(operation="job").kind == "repeat"


@pytest.mark.rule("R6.2", "R4.5")
def test_operations_are_those_of_the_period_posted_to() -> None:
    """In the next period the operation counts anew; a late event is compared with its posting period."""
    world = World(grace_hours=0)
    world.line(operation="job", time="2026-10-31T00:00:00Z")

    late = world.line(operation="job", time="2026-10-31T00:00:00Z", sent="2026-11-01T00:00:00Z")
    again = world.line(operation="job", time="2026-11-02T00:00:00Z")

    assert (late.kind, late.period) == ("usage", "2026-11-01")
    assert again.kind == "repeat"


@pytest.mark.rule("R6.3", "R7.3")
@pytest.mark.parametrize("changes", [{"byok": True}, {"environment": "staging"}])
def test_byok_and_non_billable_cost_nothing(changes: dict) -> None:
    """Neither charges anything, whatever the policies say; units are 0, the line keeps its quantity."""
    world = World(environments=frozenset({"production"}), failed="cost", repeats="cost")

    line = world.line(quantity=3, **changes)

    assert units(line) == money(line) == (0, 0, 0, 0)
    assert line.quantity == 3


@pytest.mark.rule("R6.3")
@pytest.mark.parametrize("kind", ["failed", "repeat"])
@pytest.mark.parametrize(("policy", "charge"), [("free", 0), ("cost", CENT)])
def test_failed_and_repeat_are_free_or_at_cost(kind: str, policy: str, charge: int) -> None:
    """At cost they charge the cost, whole, with no margin and no surcharge; free they charge nothing."""
    other = "free" if policy == "cost" else "cost"
    policies = {"failed": policy, "repeats": other} if kind == "failed" else {"failed": other, "repeats": policy}
    world = World(surcharges=(Surcharge("s", per_unit_pico=DOLLAR),), **policies)
    world.line(operation="job")

    line = world.line(quantity=2, operation="job", failed=kind == "failed")

    assert line.kind == kind
    assert money(line) == (charge, 0, 0, charge)
    assert units(line) == (0, 0, 0, 0)
    assert (line.cost_pico, line.provider_reward_pico, line.builder_earnings_pico) == (CENT, charge, 0)


@pytest.mark.rule("R6.2", "R6.3")
def test_only_usage_consumes_anything() -> None:
    """Other kinds leave pools, wallet and budgets alone, even when they are charged at cost, and alert nobody."""
    world = World(
        allowances=(Allowance("a", 1),),
        budgets=(Budget("b", blocks=True, amount_pico=CENT),),
        environments=frozenset({"production"}),
        overage={"default": "prepaid"},
        failed="cost",
        repeats="cost",
    )
    world.top_up("t", DOLLAR)
    world.grant("g", 5)

    for changes in ({"byok": True}, {"environment": "staging"}, {"failed": True}):
        assert world.line(quantity=9, **changes).pools == ()

    (account,) = world.state.accounts.values()
    assert (account.windows, len(account.operations)) == ({}, 0)
    assert (world.state.wallet_pico, world.state.grants[0].balance, world.alerts) == (DOLLAR, 5, [])

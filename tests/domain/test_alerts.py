import pytest

from pipeline.domain.catalog import Allowance, Budget
from tests.domain.world import CENT, World

DAY_1, DAY_2 = "2026-11-10T12:00:00Z", "2026-11-11T12:00:00Z"


@pytest.mark.rule("R6.10")
def test_thresholds_are_80_and_100_percent_unless_the_plan_says_otherwise() -> None:
    """An allowance alerts when a line makes it reach 80 percent, and when one makes it reach 100."""
    world = World(allowances=(Allowance("a", 10),))

    for quantity in (7, 1, 1, 1, 1):
        world.line(quantity=quantity)

    assert world.alerts == [("a", "", 80, 2), ("a", "", 100, 4)]


@pytest.mark.rule("R6.10")
def test_a_line_that_passes_two_thresholds_gives_both_in_rising_order() -> None:
    """One line may reach several thresholds: one alert each, the lowest first."""
    world = World(allowances=(Allowance("a", 10, alerts=(50, 80, 100)),))

    world.line(quantity=99)

    assert world.alerts == [("a", "", 50, 1), ("a", "", 80, 1), ("a", "", 100, 1)]


@pytest.mark.rule("R6.10")
@pytest.mark.parametrize(
    ("included", "thresholds", "quantities", "reached"),
    [
        (3, (33, 34), [1], [(33, 1)]),
        (1000, (80,), [799, 1], [(80, 2)]),
        (1000, (80,), [799], []),
        (7, (100,), [7], [(100, 1)]),
    ],
)
def test_shares_are_compared_exactly(
    included: int, thresholds: tuple[int, ...], quantities: list[int], reached: list[tuple[int, int]]
) -> None:
    """A third is 33 percent and not 34; 79.9 percent is below 80, and 80 is reached exactly."""
    world = World(allowances=(Allowance("a", included, alerts=thresholds),))

    for quantity in quantities:
        world.line(quantity=quantity)

    assert [(threshold, seq) for _, _, threshold, seq in world.alerts] == reached


@pytest.mark.rule("R6.10")
@pytest.mark.parametrize(("per", "alerts"), [("period", [100]), ("day", [100, 100])])
def test_each_window_alerts_once(per: str, alerts: list[int]) -> None:
    """In a new window the same threshold alerts again; in the same one it does not."""
    world = World(budgets=(Budget("b", blocks=False, quantity=1, per=per, alerts=(100,)),))

    for time in (DAY_1, DAY_1, DAY_2, DAY_2, DAY_1):
        world.line(time=time, sent=DAY_2)

    assert [threshold for _, _, threshold, _ in world.alerts] == alerts


@pytest.mark.rule("R6.10")
def test_each_scope_value_alerts_for_itself() -> None:
    """A pool for each workspace alerts for each, and says for which."""
    world = World(allowances=(Allowance("a", 1, scope="workspace"),))

    world.line(workspace="ops")
    world.line(workspace="legal")

    assert world.alerts == [("a", "ops", 80, 1), ("a", "ops", 100, 1), ("a", "legal", 80, 2), ("a", "legal", 100, 2)]


@pytest.mark.rule("R6.10")
def test_what_has_no_limit_has_no_share() -> None:
    """An allowance of 0 and a budget of 0 never alert, nor does a grant."""
    world = World(allowances=(Allowance("a", 0),), budgets=(Budget("b", blocks=False, quantity=0),))
    world.grant("g", 1)

    world.line(quantity=5)

    assert world.alerts == []


@pytest.mark.rule("R6.10", "R6.4")
def test_a_weighted_pool_alerts_by_balance() -> None:
    """The used share is of credits, not of units."""
    world = World(allowances=(Allowance("a", 10, credits={"document": 4}),))

    world.line()
    world.line()

    assert world.alerts == [("a", "", 80, 2)]


@pytest.mark.rule("R6.10", "R6.8")
@pytest.mark.parametrize("blocks", [True, False])
def test_budgets_of_both_actions_alert_by_amount_or_quantity(blocks: bool) -> None:
    """An amount budget alerts by charges, a quantity budget by overage units; both may pass their limit."""
    amount = Budget("amount", blocks=blocks, amount_pico=3 * CENT, alerts=(50, 200))
    units = Budget("units", blocks=blocks, quantity=4, alerts=(50, 100))
    world = World(budgets=(amount, units))

    world.line(cost_pico=2 * CENT)
    world.line(cost_pico=4 * CENT, quantity=3)

    assert world.alerts == [("amount", "", 50, 1), ("amount", "", 200, 2), ("units", "", 50, 2), ("units", "", 100, 2)]


@pytest.mark.rule("R6.10")
def test_pools_alert_before_budgets_each_in_plan_order() -> None:
    """The alerts of one line stand in the order of allowances and then budgets in the plan."""
    world = World(
        allowances=(Allowance("z", 1, alerts=(100,)), Allowance("a", 1, alerts=(100,))),
        budgets=(
            Budget("y", blocks=False, quantity=1, alerts=(100,)),
            Budget("b", blocks=False, quantity=1, alerts=(1,)),
        ),
    )

    world.line(quantity=3)

    assert [identity for identity, *_ in world.alerts] == ["z", "a", "y", "b"]


@pytest.mark.rule("R6.10")
def test_an_alert_names_the_billing_period_of_its_line() -> None:
    """Also for a window of an hour, the period is the billing period posted to."""
    world = World(allowances=(Allowance("a", 1, per="hour"),), anchor_day=5)

    rated = world.send(world.event(time="2026-11-04T12:00:00Z"))

    assert rated is not None
    assert {(alert.customer, alert.period, alert.seq) for alert in rated[1]} == {("acme", "2026-10-05", 1)}

import pytest

from pipeline.domain.catalog import Allowance, Budget, PriceRow, Surcharge
from pipeline.domain.lines import Line
from tests.domain.world import CENT, DOLLAR, World, match


def left(line: Line) -> tuple[int, int]:
    return (line.overage, line.blocked)


@pytest.mark.rule("R6.5")
@pytest.mark.parametrize(
    ("overage", "expected"),
    [
        ({}, (3, 0)),
        ({"default": "invoice"}, (3, 0)),
        ({"default": "block"}, (0, 3)),
        ({"default": "prepaid"}, (0, 3)),
        ({"document": "block"}, (0, 3)),
        ({"default": "block", "document": "invoice"}, (3, 0)),
        ({"default": "invoice", "page": "block"}, (3, 0)),
    ],
)
def test_the_units_policy_goes_before_the_default_and_invoice_is_the_last_resort(
    overage: dict, expected: tuple[int, int]
) -> None:
    """What pools do not cover is overage or blocked as the unit's policy says, the default's, or invoice."""
    assert left(World(overage=overage).line(quantity=3)) == expected


@pytest.mark.rule("R6.5")
def test_policies_judge_only_what_pools_do_not_cover() -> None:
    """Covered units are never blocked."""
    world = World(allowances=(Allowance("a", 2),), overage={"default": "block"})

    line = world.line(quantity=3)

    assert (line.included, *left(line), line.charge_pico) == (2, 0, 1, 0)


@pytest.mark.rule("R6.5", "R6.8")
def test_the_wallet_may_go_below_zero_with_one_line() -> None:
    """Prepaid looks at the wallet before the event only: the last line goes whole, then everything is blocked."""
    world = World(overage={"default": "prepaid"})
    world.top_up("t", 3 * CENT)

    lines = [world.line(cost_pico=2 * CENT) for _ in range(3)]

    assert [left(line) for line in lines] == [(1, 0), (1, 0), (0, 1)]
    assert [line.charge_pico for line in lines] == [2 * CENT, 2 * CENT, 0]
    assert world.state.wallet_pico == -CENT


@pytest.mark.rule("R6.5")
def test_a_wallet_of_exactly_nothing_blocks() -> None:
    """At 0 everything is blocked, and at one picodollar nothing is."""
    world = World(overage={"default": "prepaid"})
    world.top_up("t", CENT)

    world.line()
    assert left(world.line()) == (0, 1)
    world.top_up("u", 1)
    assert left(world.line()) == (1, 0)


@pytest.mark.rule("R6.8")
def test_the_wallet_pays_the_whole_charge_of_prepaid_lines_only() -> None:
    """Margin and surcharge leave the wallet too; the lines of an invoiced unit do not touch it."""
    world = World(
        overage={"document": "prepaid"},
        prices=(PriceRow(margin_percent_pico=50 * DOLLAR),),
        surcharges=(Surcharge("s", per_unit_pico=CENT),),
    )
    world.top_up("t", DOLLAR)

    world.line(cost_pico=2 * CENT)
    world.line(cost_pico=2 * CENT, unit="page")

    assert world.state.wallet_pico == DOLLAR - 4 * CENT


@pytest.mark.rule("R6.5", "R6.6", "R6.8")
def test_a_call_of_quantity_0_is_paid_from_the_wallet_or_blocked() -> None:
    """Policy and wallet decide on a call of quantity 0 as if one unit were left."""
    world = World(overage={"default": "prepaid"})
    world.top_up("t", CENT)

    paid, blocked = world.line(quantity=0), world.line(quantity=0)

    assert (paid.charge_pico, blocked.charge_pico, world.state.wallet_pico) == (CENT, 0, 0)
    assert left(blocked) == (0, 0)


@pytest.mark.rule("R6.5", "R6.8")
def test_a_quantity_budget_cuts_to_its_limit() -> None:
    """A blocking budget by quantity lets overage through up to its limit, within a line too."""
    world = World(allowances=(Allowance("a", 1),), budgets=(Budget("b", blocks=True, quantity=5),))

    lines = [world.line(quantity=4) for _ in range(3)]

    assert [left(line) for line in lines] == [(3, 0), (2, 2), (0, 4)]


@pytest.mark.rule("R6.5", "R6.8")
def test_an_amount_budget_blocks_once_its_limit_is_reached() -> None:
    """By amount a line goes whole while the charges before it are below the limit, and not at all afterwards."""
    world = World(budgets=(Budget("b", blocks=True, amount_pico=2 * CENT + 1),))

    lines = [world.line(quantity=7) for _ in range(4)]

    assert [left(line) for line in lines] == [(7, 0), (7, 0), (7, 0), (0, 7)]


@pytest.mark.rule("R6.5")
def test_an_amount_budget_of_exactly_the_charges_blocks() -> None:
    """Charges that equal the limit have used it up; a limit of 0 never lets anything through."""
    world = World(budgets=(Budget("b", blocks=True, amount_pico=CENT),))

    assert [left(world.line()) for _ in range(2)] == [(1, 0), (0, 1)]
    assert left(World(budgets=(Budget("b", blocks=True, amount_pico=0),)).line()) == (0, 1)


@pytest.mark.rule("R6.5")
def test_budgets_limit_one_after_the_other() -> None:
    """Each blocking budget that matches cuts what the ones before it left; others do not matter."""
    world = World(
        budgets=(
            Budget("pages", blocks=True, quantity=0, match=match(unit="page")),
            Budget("alert", blocks=False, quantity=0),
            Budget("five", blocks=True, quantity=5),
            Budget("three", blocks=True, quantity=3),
        )
    )

    assert left(world.line(quantity=9)) == (3, 6)


@pytest.mark.rule("R6.5", "R4.2")
@pytest.mark.parametrize("limit", [{"quantity": 1}, {"amount_pico": CENT}], ids=["quantity", "amount"])
@pytest.mark.parametrize(
    ("per", "overage"), [("hour", [1, 0, 1, 1, 1]), ("day", [1, 0, 0, 1, 1]), ("period", [1, 0, 0, 0, 1])]
)
def test_budgets_begin_anew_with_each_window(limit: dict, per: str, overage: list[int]) -> None:
    """A budget counts within its UTC hour or day or its period, found by posting time."""
    world = World(budgets=(Budget("b", blocks=True, per=per, **limit),))

    times = ["10T12:00:00Z", "10T12:59:59Z", "10T13:00:00Z", "11T12:00:00Z"]
    lines = [world.line(time=f"2026-11-{time}") for time in times] + [world.line(time="2026-12-10T12:00:00Z")]

    assert [line.overage for line in lines] == overage


@pytest.mark.rule("R6.5", "R4.2")
@pytest.mark.parametrize("limit", [{"quantity": 1}, {"amount_pico": CENT}], ids=["quantity", "amount"])
@pytest.mark.parametrize(
    ("scope", "overage"), [("customer", [1, 0, 0, 0]), ("deployment", [1, 1, 0, 0]), ("workspace", [1, 0, 1, 0])]
)
def test_budgets_are_kept_for_each_value_of_their_scope(limit: dict, scope: str, overage: list[int]) -> None:
    """There is one budget for the customer, or one for each deployment or workspace."""
    world = World(budgets=(Budget("b", blocks=True, scope=scope, **limit),))

    lines = [world.line(), world.line(source="dep2"), world.line(workspace="ops"), world.line()]

    assert [line.overage for line in lines] == overage


@pytest.mark.rule("R6.5", "R6.6")
def test_a_budget_blocks_a_call_of_quantity_0_as_if_it_were_a_unit() -> None:
    """A call of quantity 0 uses no units of a quantity budget, but an exhausted one blocks it."""
    world = World(budgets=(Budget("b", blocks=True, quantity=1),))

    charges = [world.line(quantity=quantity).charge_pico for quantity in (0, 0, 1, 0)]

    assert charges == [CENT, CENT, CENT, 0]


@pytest.mark.rule("R6.8")
def test_an_amount_budget_counts_calls_of_quantity_0() -> None:
    """Their charges use the budget up like any other."""
    world = World(budgets=(Budget("b", blocks=True, amount_pico=CENT),))

    world.line(quantity=0)

    assert left(world.line()) == (0, 1)


@pytest.mark.rule("R6.5", "R6.8")
def test_included_units_use_no_budget() -> None:
    """What pools cover is no overage and costs nothing, so a budget does not see it."""
    world = World(allowances=(Allowance("a", 9),), budgets=(Budget("b", blocks=True, quantity=1),))

    world.line(quantity=9)

    assert left(world.line(quantity=2)) == (1, 1)

import pytest

from pipeline.domain.catalog import Allowance, PriceRow, Surcharge, Tier
from pipeline.domain.lines import Line
from pipeline.domain.prices.graduated import graduated_price
from tests.domain.world import CENT, DOLLAR, World, match

PERCENT = 10**12
TIERS = (Tier(3, 10), Tier(5, 7), Tier(None, 1))


def money(line: Line) -> tuple[int, int, int, int]:
    assert line.charge_pico == line.provider_reward_pico + line.builder_earnings_pico
    return (line.cost_charged_pico, line.margin_pico, line.surcharge_pico, line.charge_pico)


@pytest.mark.rule("R6.7")
def test_without_a_price_row_the_cost_is_charged() -> None:
    """No row, or none that matches, is cost plus 0 percent."""
    other = PriceRow(match(unit="page"), margin_percent_pico=50 * PERCENT)

    assert money(World().line()) == money(World(prices=(other,)).line()) == (CENT, 0, 0, CENT)


@pytest.mark.rule("R6.7", "R5.1")
@pytest.mark.parametrize(
    ("cost", "included", "quantity", "charged"),
    [
        (1, 1, 2, 0),
        (3, 1, 2, 2),
        (5, 1, 2, 2),
        (7, 1, 2, 4),
        (10, 2, 3, 3),
        (20, 1, 3, 13),
        (10, 0, 3, 10),
        (10, 3, 3, 0),
    ],
)
def test_the_cost_is_charged_by_the_overage_fraction_half_to_even(
    cost: int, included: int, quantity: int, charged: int
) -> None:
    """Cost x overage / quantity is rounded once, a half to the even picodollar: 0.5, 1.5, 2.5 and 3.5 give 0, 2, 2, 4."""
    world = World(allowances=(Allowance("a", included),))

    line = world.line(cost_pico=cost, quantity=quantity)

    assert (line.cost_pico, line.cost_charged_pico) == (cost, charged)


@pytest.mark.rule("R6.7")
def test_blocked_units_are_not_charged() -> None:
    """A blocked line charges nothing, and its cost stays on the line."""
    line = World(overage={"default": "block"}).line(quantity=4)

    assert money(line) == (0, 0, 0, 0)
    assert line.cost_pico == CENT


@pytest.mark.rule("R6.7", "R5.1", "R6.9")
@pytest.mark.parametrize(
    ("percent_pico", "cost", "margin"),
    [(25 * PERCENT, 8, 2), (25 * PERCENT, 2, 0), (25 * PERCENT, 6, 2), (25 * PERCENT, 10, 2), (1, 5 * 10**13, 0),
     (1, 15 * 10**13, 2), (250 * PERCENT, 4, 10), (0, 4, 0)],
)  # fmt: skip
def test_margin_is_a_percentage_of_the_cost_charged(percent_pico: int, cost: int, margin: int) -> None:
    """The margin is rounded half to even, down to percentages of 10^-12; the builder earns it."""
    world = World(prices=(PriceRow(margin_percent_pico=percent_pico),))

    line = world.line(cost_pico=cost)

    assert money(line) == (cost, margin, 0, cost + margin)
    assert line.builder_earnings_pico == margin


@pytest.mark.rule("R6.7", "R5.1")
def test_the_margin_comes_from_the_rounded_cost_charged() -> None:
    """Each division rounds by itself: half of 3 is charged as 2, and half of that 2 is the margin."""
    world = World(allowances=(Allowance("a", 1),), prices=(PriceRow(margin_percent_pico=50 * PERCENT),))

    assert money(world.line(cost_pico=3, quantity=2)) == (2, 1, 0, 3)


@pytest.mark.rule("R6.7")
def test_the_first_matching_row_wins() -> None:
    """Later rows that match too do not count."""
    world = World(
        prices=(
            PriceRow(match(unit="page"), margin_percent_pico=10 * PERCENT),
            PriceRow(match(unit="document"), margin_percent_pico=20 * PERCENT),
            PriceRow(margin_percent_pico=30 * PERCENT),
        )
    )

    margins = [world.line(cost_pico=100, unit=unit).margin_pico for unit in ("page", "document", "answer")]

    assert margins == [10, 20, 30]


@pytest.mark.rule("R6.7")
@pytest.mark.parametrize(
    ("before", "units", "total"),
    [
        (0, 0, 0),
        (0, 3, 30),
        (0, 4, 37),
        (0, 6, 45),
        (2, 1, 10),
        (2, 2, 17),
        (3, 1, 7),
        (4, 2, 8),
        (5, 1, 1),
        (2, 5, 26),
    ],
)
def test_each_unit_has_the_price_of_its_tier(before: int, units: int, total: int) -> None:
    """Units 1 to 3 cost 10, 4 and 5 cost 7, all others 1: up_to is inclusive."""
    assert graduated_price(TIERS, before, units) == total


@pytest.mark.rule("R6.7", "R6.8", "R6.9")
def test_tiers_go_on_from_line_to_line_and_across_their_edge() -> None:
    """A row counts the overage units that it has priced in the period; a line may lie in two tiers."""
    world = World(allowances=(Allowance("a", 1),), prices=(PriceRow(tiers=TIERS),))

    lines = [world.line(cost_pico=0, quantity=quantity) for quantity in (3, 2, 3)]

    assert [line.charge_pico for line in lines] == [20, 10 + 7, 7 + 2 * 1]
    assert [line.builder_earnings_pico for line in lines] == [20, 17, 9]


@pytest.mark.rule("R6.7")
def test_each_row_counts_its_own_units() -> None:
    """Units priced by one row do not move another row's tiers."""
    row = PriceRow(match(unit="page"), tiers=TIERS)
    world = World(prices=(row, PriceRow(tiers=TIERS)))

    charges = [world.line(cost_pico=0, quantity=3, unit=unit).charge_pico for unit in ("page", "document", "page")]

    assert charges == [30, 30, 7 + 7 + 1]


@pytest.mark.rule("R6.7", "R6.9")
def test_a_price_below_the_cost_makes_a_negative_margin() -> None:
    """The customer owes the price, the provider its cost, and the builder bears the difference."""
    world = World(prices=(PriceRow(tiers=(Tier(None, 3),)),))

    line = world.line(cost_pico=10, quantity=2)

    assert money(line) == (10, -4, 0, 6)
    assert (line.provider_reward_pico, line.builder_earnings_pico) == (10, -4)


@pytest.mark.rule("R6.7")
def test_every_matching_surcharge_adds_and_each_percentage_rounds_by_itself() -> None:
    """Two halves of a picodollar are rounded one by one, to 0 each, not together to 1."""
    half = 50 * PERCENT
    world = World(
        surcharges=(
            Surcharge("one", percent_of_cost_pico=half),
            Surcharge("two", percent_of_cost_pico=half),
            Surcharge("pages", match(unit="page"), per_unit_pico=1000),
            Surcharge("units", per_unit_pico=5, percent_of_cost_pico=100 * PERCENT),
        )
    )

    assert money(world.line(cost_pico=1, quantity=2)) == (1, 0, 0 + 0 + 2 * 5 + 1, 12)


@pytest.mark.rule("R6.7")
def test_surcharges_count_overage_units_and_the_cost_charged() -> None:
    """Included units bear no surcharge."""
    surcharge = Surcharge("s", per_unit_pico=5, percent_of_cost_pico=10 * PERCENT)
    world = World(allowances=(Allowance("a", 3),), surcharges=(surcharge,))

    assert money(world.line(cost_pico=400, quantity=4)) == (100, 0, 5 + 10, 115)


@pytest.mark.rule("R6.6", "R6.7")
def test_a_call_of_quantity_0_is_priced_on_its_whole_cost() -> None:
    """Its fraction is 1: margin and percent surcharges apply, per-unit ones give nothing."""
    world = World(
        prices=(PriceRow(margin_percent_pico=25 * PERCENT),),
        surcharges=(Surcharge("s", per_unit_pico=5, percent_of_cost_pico=10 * PERCENT),),
    )

    assert money(world.line(cost_pico=100, quantity=0)) == (100, 25, 10, 135)


@pytest.mark.rule("R6.6", "R6.7")
def test_a_price_per_unit_makes_a_call_of_quantity_0_free_for_the_customer() -> None:
    """No unit has no price: the builder bears the cost, and the tiers do not move."""
    world = World(prices=(PriceRow(tiers=TIERS),))

    lines = [world.line(cost_pico=4, quantity=quantity) for quantity in (0, 3)]

    assert [money(line) for line in lines] == [(4, -4, 0, 0), (4, 26, 0, 30)]


@pytest.mark.rule("R5.1", "R6.9")
def test_amounts_beyond_64_bits_stay_exact() -> None:
    """The largest quantity, cost and price give the exact product."""
    world = World(prices=(PriceRow(tiers=(Tier(None, 10**9 * DOLLAR),)),))
    cost = 10**30 - 1

    line = world.line(quantity=10**12, cost_pico=cost)

    assert money(line) == (cost, 10**33 - cost, 0, 10**33)

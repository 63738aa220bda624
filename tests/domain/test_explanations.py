"""Tests of why a line costs what it does."""

from dataclasses import replace

import pytest

from pipeline.domain.catalog import Allowance, Budget, PriceRow, Surcharge, Tier
from pipeline.domain.explanations import LineExplanation
from pipeline.domain.explanations_history import History
from pipeline.domain.explanations_sentences import explain
from pipeline.domain.lines import Line
from pipeline.rating.offline import OfflineRating
from tests.domain.explained import history_of
from tests.domain.world import CENT, DOLLAR, World, match
from tests.rating.support import case

TIERS = PriceRow(tiers=(Tier(2, DOLLAR), Tier(None, CENT)))


def explained(world: World, *lines: Line) -> LineExplanation:
    """Return the explanation of the last of some lines."""
    return explain(world.catalog, lines[-1], history_of(lines[-1], lines))


def text(found: LineExplanation, title: str) -> list[str]:
    return [each.text for each in found.sentences if each.title == title]


@pytest.mark.rule("R6.2", "R6.4", "R6.5", "R6.6", "R6.7", "R6.9")
@pytest.mark.parametrize("seed", range(8))
def test_every_line_is_rated_again_to_the_picodollar(seed: int) -> None:
    """From the catalog and the earlier lines alone, each line of a random journal comes out as it was."""
    made = case(seed)
    rating = OfflineRating(made.catalog)
    lines = [line for record in made.records for line in rating.rate(record).lines]

    found = [explain(made.catalog, line, history_of(line, lines)) for line in lines]

    assert [(each.line.seq, each.differences) for each in found if not each.verified] == []
    assert all(sum(pool.units for pool in each.pools) == each.line.included + each.line.granted for each in found)
    for each in found:
        if each.price is not None and each.price.tiers:
            base_pico = sum(tier.units * tier.price_pico for tier in each.price.tiers)
            assert base_pico == each.line.cost_charged_pico + each.line.margin_pico
        assert sum(surcharge.amount_pico for surcharge in each.surcharges) == each.line.surcharge_pico
        assert each.as_dict()["verified"]


@pytest.mark.rule("R6.4")
def test_balances_before_and_after_are_said_in_order() -> None:
    """Allowances come in plan order with what earlier lines left, then the grants that covered something."""
    credits_ = Allowance("credits", 23, credits={"document": 5})
    world = World(allowances=(credits_, Allowance("legal", 1, scope="workspace", match=match(workspace="legal"))))
    world.grant("gift", 10)

    first, second = world.line(quantity=2), world.line(quantity=5)
    pools = explained(world, first, second).pools

    assert [(pool.id, pool.balance_before, pool.balance_after, pool.units) for pool in pools] == [
        ("credits", 13, 3, 2),
        ("legal", 1, 0, 1),
        ("gift", None, None, 2),
    ]
    assert text(explained(world, first, second), "Pool 1") == [
        (
            "Allowance credits: 13 of 23 left, of which 1 document takes 5, so enough for 2 documents; "
            "covers 2 documents, 3 left after."
        )
    ]


@pytest.mark.rule("R6.4")
def test_a_grant_says_what_it_has_covered_before() -> None:
    """What a grant has left is not in lines; what it covered is, in every period."""
    world = World()
    world.grant("gift", 10)

    found = explained(world, world.line(quantity=3), world.line(quantity=4, time="2026-12-10T12:00:00Z"))

    assert found.pools[0].used_before == {"document": 3}
    assert text(found, "Pool 1") == [
        "Grant gift covers 4 documents; it had covered 3 documents before, in all periods and plans."
    ]


@pytest.mark.rule("R6.7")
def test_tiers_are_said_with_their_counter() -> None:
    """Units fall into tiers behind those that the row has priced before."""
    world = World(prices=(TIERS,), surcharges=(Surcharge("fee", {}, 3 * CENT, 50 * DOLLAR),))

    found = explained(world, world.line(), world.line(quantity=3))

    assert found.price is not None
    assert [(tier.before, tier.units, tier.price_pico) for tier in found.price.tiers] == [(1, 1, DOLLAR), (2, 2, CENT)]
    assert (found.price.counter_before, found.price.counter_after) == (1, 4)
    assert [surcharge.amount_pico for surcharge in found.surcharges] == [9 * CENT + CENT // 2]
    assert "1 x 1.00 (tier up to 2) + 2 x 0.01 = 1.02 USD (1 document of the period were" in text(found, "Price")[0]


@pytest.mark.rule("R6.5")
def test_a_budget_that_blocks_is_named_with_what_was_spent() -> None:
    """What a budget takes away is blocked, and the budget says what it had seen."""
    world = World(budgets=(Budget("cap", True, quantity=3, per="day"),))

    found = explained(world, world.line(quantity=2), world.line(quantity=4))

    assert found.left_over is not None
    assert (found.left_over.overage, found.left_over.blocked, found.left_over.limit_id) == (1, 3, "cap")
    assert text(found, "Budget") == ["cap (this day): 2 of 3 documents were paid before; it blocks beyond it."]
    assert text(found, "Blocked") == ["3 documents blocked: budget cap was used up. What is blocked is not charged."]


@pytest.mark.rule("R6.5")
@pytest.mark.parametrize(
    ("amount_pico", "wallet", "said"), [(DOLLAR, "above_zero", "was above"), (0, "empty", "not above")]
)
def test_the_wallet_follows_from_the_line(amount_pico: int, wallet: str, said: str) -> None:
    """Lines do not hold the wallet: what it must have been is said as such."""
    world = World(overage={"default": "prepaid"})
    world.top_up("t", amount_pico)

    found = explained(world, world.line())

    assert found.verified
    assert found.left_over is not None
    assert found.left_over.wallet == wallet
    assert said in found.notes[0]


@pytest.mark.rule("R6.6")
def test_a_grant_may_be_why_a_further_call_is_free() -> None:
    """At quantity 0 a grant that covers nothing yet leaves no trace in the line: the note says what must be so."""
    world = World()
    world.grant("gift", 1)

    found = explained(world, world.line(quantity=0))

    assert found.verified
    assert "grant could still cover" in found.notes[0]


@pytest.mark.rule("R3.2")
def test_a_late_line_says_why_it_is_posted_where_it_is() -> None:
    """The own period, until when it took usage, and the posting time."""
    world = World()

    found = explained(world, world.line(time="2026-10-31T12:00:00Z", sent="2026-11-05T00:00:00Z"))

    assert text(found, "When") == [
        (
            "Used 2026-10-31 12:00:00 UTC, in the period that begins on 2026-10-01. That period took usage until "
            "2026-11-04 00:00:00 UTC (72 hours of grace after its end). The event came later: late, so it is posted "
            "when it came, 2026-11-05 00:00:00 UTC, in the period that begins on 2026-11-01."
        )
    ]


@pytest.mark.rule("R6.3")
@pytest.mark.parametrize(("policy", "said"), [("free", "lets it go free"), ("cost", "charges such calls at cost")])
def test_a_failed_call_says_what_the_plan_does(policy: str, said: str) -> None:
    """Free or at cost."""
    world = World(failed=policy)

    found = explained(world, world.line(failed=True))

    assert found.verified
    assert said in text(found, "Kind")[0]


def test_a_line_that_does_not_follow_is_said_to_differ() -> None:
    """A charge that the terms do not give, or pools that earlier lines had emptied, are named and never explained away."""
    world = World(allowances=(Allowance("a", 2),), prices=(TIERS,))
    first, second = world.line(quantity=2), world.line(quantity=1)
    wrong = replace_line(second, charge_pico=1, margin_pico=1 - second.cost_charged_pico)

    assert explained(world, first, second).verified
    assert {each.field for each in explained(world, first, wrong).differences} == {"margin", "charge"}
    assert {each.field for each in explain(world.catalog, second, History(0)).differences} >= {"included", "pools"}


def test_a_catalog_without_the_deployment_explains_nothing() -> None:
    """What the catalog does not have is the difference."""
    world = World()
    line = world.line()

    found = explain(replace(world.catalog, deployments={}), line, History(0))

    assert "deployment 'dep' is not in the catalog" in found.differences[0].computed
    assert not found.as_dict()["verified"]


def replace_line(line: Line, **changes: int) -> Line:
    return Line(*(changes.get(name, getattr(line, name)) for name in line.__struct_fields__))

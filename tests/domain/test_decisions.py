"""What a decision says (R8.3); that it equals what rating then does is held in tests/rating/test_quota.py."""

import pytest

from pipeline.domain.catalog import Allowance, Budget, PriceRow, Surcharge, Tier
from pipeline.domain.decisions import BudgetLeft, Decision, PoolLeft, Standing
from pipeline.domain.quota import Request, quota_record
from tests.domain.world import CENT, DOLLAR, NOON, World, at, match

pytestmark = pytest.mark.rule("R8.3")
MONTH_END = at("2026-12-01T00:00:00Z")


def ask(world: World, now: str = NOON, **changes: object) -> Decision:
    fields = {
        "deployment": "dep",
        "environment": "production",
        "workspace": "legal",
        "feature": "contract-extraction",
        "model": "small",
        "unit": "document",
        "cost_pico": CENT,
    }
    standing = Standing(quota_record(world.state, world.terms), world.terms)
    return standing.decide(Request(**{**fields, **changes}), at(now))


def test_what_the_plan_includes_is_allowed_and_free() -> None:
    """Units within an allowance cost nothing, and the answer says what is left before the call."""
    world = World(allowances=(Allowance("docs", 5),))
    world.line(quantity=2)

    decision = ask(world, quantity=3)

    assert (decision.allowed, decision.included, decision.charge_pico) == (True, 3, 0)
    assert decision.pools == (PoolLeft("docs", "", 3, 1, 5, MONTH_END),)
    assert decision.sentence == "3 documents are included in your plan."


def test_a_paid_call_names_its_price_and_surcharges() -> None:
    """What is beyond the plan is quoted with margin and surcharge, in the customer's words."""
    world = World(
        prices=(PriceRow(tiers=(Tier(None, 2 * CENT),)),),
        surcharges=(Surcharge("premium", match(**{"class": "premium"}), per_unit_pico=5 * CENT),),
    )

    decision = ask(world, quantity=3, model="large")

    assert (decision.overage, decision.margin_pico, decision.surcharge_pico) == (3, 5 * CENT, 15 * CENT)
    assert decision.sentence == "3 of 3 documents are paid: about $0.21, of which $0.15 premium model surcharge."


def test_grants_serve_after_the_plan() -> None:
    """A call that plan and grant cover together says what each gives."""
    world = World(allowances=(Allowance("docs", 1),))
    world.grant("gift", 10)

    decision = ask(world, quantity=3)

    assert (decision.included, decision.granted, decision.overage) == (1, 2, 0)
    assert decision.sentence == "3 documents are covered: 1 by your plan, 2 by extra quantity you were granted."
    assert decision.pools[1] == PoolLeft("gift", "", 10, 1)


def test_a_unit_that_the_plan_does_not_sell_is_denied() -> None:
    """With the policy `block`, what is beyond the allowance is denied, with the reason."""
    world = World(allowances=(Allowance("docs", 2),), overage={"document": "block"})

    decision = ask(world, quantity=3)

    assert (decision.allowed, decision.reason, decision.blocked) == (False, "overage_blocked", 1)
    assert (
        decision.sentence == "1 of 3 documents is not included any more, and your plan does not allow extra documents."
    )


def test_an_empty_wallet_denies_and_a_top_up_allows_again() -> None:
    """Prepaid calls go as long as the wallet is above zero."""
    world = World(overage={"default": "prepaid"})

    denied = ask(world)
    world.top_up("t1", DOLLAR)
    allowed = ask(world)

    assert (denied.allowed, denied.reason) == (False, "wallet_empty")
    assert (allowed.allowed, allowed.policy, allowed.wallet_pico) == (True, "prepaid", DOLLAR)


def test_a_spent_budget_denies_until_its_window_ends() -> None:
    """A budget per hour denies when its amount is spent, is named, and is fresh in the next hour."""
    world = World(budgets=(Budget("runaway", blocks=True, amount_pico=CENT, scope="deployment", per="hour"),))
    world.line()

    denied = ask(world)
    later = ask(world, "2026-11-10T13:00:00Z")

    assert (denied.allowed, denied.reason, denied.limit_id) == (False, "budget_exhausted", "runaway")
    until_us = at("2026-11-10T13:00:00Z")
    assert denied.budgets == (BudgetLeft("runaway", "dep", True, until_us, left_pico=0, amount_pico=CENT),)
    assert denied.sentence == (
        "1 of 1 document is beyond budget runaway of deployment dep, which begins afresh at 2026-11-10 13:00 UTC."
    )
    assert later.allowed
    assert later.budgets[0].left_pico == CENT


def test_a_budget_of_units_denies_what_does_not_fit() -> None:
    """A call of which a part does not fit is denied as a whole, and the answer says how much fits."""
    world = World(budgets=(Budget("cap", blocks=True, quantity=2),))

    decision = ask(world, quantity=3)

    assert (decision.allowed, decision.reason, decision.overage, decision.blocked) == (False, "budget_exhausted", 2, 1)
    assert decision.budgets[0].left == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"deployment": "nowhere"}, "unknown_deployment"),
        ({"deployment": "dep-other"}, "wrong_customer"),
        ({"model": "unheard-of", "cost_pico": None}, "unknown_price"),
    ],
)
def test_a_call_whose_event_would_be_rejected_is_denied(changes: dict[str, object], code: str) -> None:
    """The reason is the code of the rejection."""
    assert ask(World(), **changes).reason == code


def test_a_customer_without_a_subscription_is_denied() -> None:
    """No plan, no call."""
    decision = ask(World(), "2025-12-31T00:00:00Z")

    assert (decision.allowed, decision.reason) == (False, "no_subscription")


def test_the_environments_that_are_not_billed_consume_nothing() -> None:
    """A call in staging is allowed and free, even when the plan blocks overage."""
    world = World(environments=frozenset({"production"}), overage={"default": "block"})

    decision = ask(world, environment="staging")

    assert (decision.allowed, decision.kind, decision.charge_pico) == (True, "non_billable", 0)
    assert decision.sentence == "This call is not charged."


def test_a_further_call_of_a_counted_action_is_denied_when_it_cannot_be_paid() -> None:
    """Quantity 0 stands for one unit that is not counted (R6.6)."""
    world = World(overage={"default": "block"})

    assert not ask(world, quantity=0).allowed
    assert ask(World(), quantity=0).charge_pico == CENT


def test_amounts_below_a_cent_are_not_shown_as_nothing() -> None:
    """Somebody who pays reads more than $0.00."""
    assert ask(World(), cost_pico=CENT // 10).sentence == "1 of 1 document is paid: less than $0.01."


def test_a_new_period_begins_afresh_without_a_new_record() -> None:
    """The record of last month answers for this one: its pools are untouched."""
    world = World(allowances=(Allowance("docs", 1),), overage={"default": "block"})
    world.line()

    assert not ask(world).allowed
    assert ask(world, "2026-12-01T00:00:00Z").allowed


def test_a_decision_holds_until_something_turns() -> None:
    """The end of the hour, of a reservation, or the beginning and end of a grant: the next of them."""
    world = World()
    world.grant("gift", 10, effective_us=at("2026-11-10T12:20:00Z"), expires_us=at("2026-11-10T12:40:00Z"))
    standing = Standing(quota_record(world.state, world.terms), world.terms)

    ends = [standing.valid_until_us(at(f"2026-11-10T12:{minute}:00Z")) for minute in ("00", "20", "40")]

    assert ends == [at(f"2026-11-10T{end}:00Z") for end in ("12:20", "12:40", "13:00")]

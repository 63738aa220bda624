"""Tests of why a bill changed."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.change_sentences import explain_difference
from pipeline.domain.changes import ChangeExplanation, decompose, total_cents
from pipeline.domain.changes_cells import PriceRange, UsageGroup
from pipeline.domain.money import round_to_cents
from tests.domain.world import CENT, DOLLAR

COUNTS = st.integers(0, 10**6)
AMOUNTS = st.integers(0, 10**15)
RANGES = st.none() | st.builds(
    lambda least, more: PriceRange(least, least + more), AMOUNTS, st.sampled_from([0, 10**14])
)


def group(quantity: int = 100, covered: int = 0, blocked: int = 0, **changes: Any) -> UsageGroup:
    """Return tickets of one model at 10 cents each, of which 4 cents are cost; nothing else unless changed."""
    paid = quantity - covered - blocked
    fields: dict[str, Any] = {
        "workspace": "support",
        "feature": "reply",
        "unit": "ticket",
        "model": "small",
        "model_class": "standard",
        "plan": "team",
        "plan_version": 1,
        "kind": "usage",
        "late": False,
        "counted": True,
        "lines": quantity,
        "charged_lines": paid,
        "quantity": quantity,
        "covered": covered,
        "overage": paid,
        "blocked": blocked,
        "tokens": 1000 * quantity,
        "cost_charged_pico": paid * 4 * CENT,
        "surcharge_pico": 0,
        "charge_pico": paid * 10 * CENT,
    }
    return UsageGroup(**(fields | changes))


@st.composite
def groups(draw: st.DrawFn) -> list[UsageGroup]:
    """Draw the groups of a statement: few names, so that the two statements share some."""
    names = st.sampled_from
    found = {}
    for _ in range(draw(st.integers(0, 8))):
        covered, overage, blocked = draw(COUNTS), draw(COUNTS), draw(COUNTS)
        counted = draw(st.booleans())
        each = group(
            workspace=draw(names("ab")),
            feature=draw(names("fg")),
            unit=draw(names(["ticket", "page"])),
            model=draw(names(["small", "large"])),
            plan_version=draw(st.integers(1, 2)),
            kind=draw(names(["usage", "usage", "failed", "repeat", "byok"])),
            late=draw(st.booleans()) and draw(st.booleans()),
            counted=counted,
            lines=draw(st.integers(1, 10**4)),
            charged_lines=0,
            quantity=covered + overage + blocked if counted else 0,
            covered=covered if counted else 0,
            overage=overage if counted else 0,
            blocked=blocked if counted else 0,
            cost_charged_pico=draw(AMOUNTS),
            surcharge_pico=draw(AMOUNTS),
            charge_pico=draw(AMOUNTS),
            unit_price=draw(RANGES),
            margin_share=draw(RANGES),
        )
        found[each.workspace, each.feature, each.unit, each.model, each.plan_version, each.kind, counted] = each
    return list(found.values())


def explained(old: list[UsageGroup], new: list[UsageGroup]) -> ChangeExplanation:
    return explain_difference("acme", "helpdesk", "2026-11-01", "2026-10-01", old, new)


def parts(old: list[UsageGroup], new: list[UsageGroup]) -> dict[str, int]:
    """Return the parts of a change, in cents."""
    return {each["part"]: each["cents"] for each in explained(old, new).as_dict()["parts"]}


@pytest.mark.rule("R5.4")
@given(groups(), groups())
def test_parts_sum_to_the_difference_of_the_totals(old: list[UsageGroup], new: list[UsageGroup]) -> None:
    """Whatever the two statements are, parts and sentences sum to the difference of their totals, to the cent."""
    found = explained(old, new)

    wanted = total_cents(new) - total_cents(old)
    assert found.difference_cents == wanted
    assert sum(each.cents for each in found.sentences) == wanted
    assert sum(each["cents"] for each in found.as_dict()["parts"]) == wanted


@given(groups(), groups())
def test_steps_sum_to_the_exact_difference(old: list[UsageGroup], new: list[UsageGroup]) -> None:
    """Before rounding, the steps sum to the difference of the charges to the picodollar."""
    found = decompose(old, new)

    exact = sum(each.charge_pico for each in new) - sum(each.charge_pico for each in old)
    steps = sum(sum(cell.parts.values()) for cell in found.cells) + sum(extra.pico for extra in found.extras)
    assert steps == exact


@given(groups())
def test_equal_statements_have_no_parts(both: list[UsageGroup]) -> None:
    """Nothing changed, nothing is said, in whichever order the groups come."""
    assert explained(both, both[::-1]).sentences == ()


@given(groups(), groups())
def test_the_order_of_groups_does_not_matter(old: list[UsageGroup], new: list[UsageGroup]) -> None:
    """The same sums give the same explanation."""
    assert explained(old, new) == explained(old[::-1], new[::-1])


@given(st.integers(1, 10**5), st.integers(2, 50), st.integers(0, 10**12))
def test_more_of_the_same_is_volume(quantity: int, times: int, price_pico: int) -> None:
    """Every model and feature so many times as often, at the same price: volume, and rounding of rows at most."""
    old = [
        group(quantity, model=model, charge_pico=quantity * price_pico, surcharge_pico=quantity * (price_pico // 3))
        for model in ("small", "large")
    ]
    new = [replace(each, **{name: getattr(each, name) * times for name in SUMS if getattr(each, name)}) for each in old]

    assert set(parts(old, new)) <= {"volume", "rounding"}


SUMS = ("lines", "charged_lines", "quantity", "overage", "tokens", "cost_charged_pico", "surcharge_pico", "charge_pico")


@given(st.integers(1, 10**6), st.integers(0, 10**12), st.integers(0, 10**12))
def test_another_plan_is_price_and_plan(quantity: int, old_pico: int, new_pico: int) -> None:
    """The same usage at another price per unit is price and plan alone."""
    old = [group(quantity, charge_pico=quantity * old_pico)]
    new = [group(quantity, charge_pico=quantity * new_pico, plan_version=2)]

    assert set(parts(old, new)) <= {"price", "rounding"}
    if old_pico != new_pico and abs(quantity * (new_pico - old_pico)) >= CENT:
        assert "plan team 2 instead of team 1" in explained(old, new).sentences[0].text


@pytest.mark.parametrize(
    ("changes", "part", "cents", "text"),
    [
        ({"quantity": 130}, "volume", 300, "30 more tickets in workspace support (reply)"),
        ({"quantity": 99}, "volume", -10, "1 fewer ticket in workspace support (reply)"),
        (
            {"covered": 40},
            "allowance",
            -400,
            "40 more tickets were covered by allowances and grants (40 instead of 0)",
        ),
        ({"blocked": 1}, "blocked", -10, "1 more ticket was blocked, which costs nothing (1 instead of 0)"),
        (
            {"cost_charged_pico": 5 * DOLLAR, "charge_pico": 125 * DOLLAR // 10, "tokens": 150_000},
            "cost",
            250,
            "the calls behind a ticket of reply cost 0.05 on average instead of 0.04 (1,500 tokens each instead of 1,000)",
        ),
        (
            {"surcharge_pico": DOLLAR, "charge_pico": 11 * DOLLAR},
            "surcharge",
            100,
            "surcharges on a ticket of reply were 0.01 on average instead of 0.00",
        ),
        (
            {"charge_pico": 9 * DOLLAR},
            "price",
            -100,
            "a ticket of reply was 0.09 on average instead of 0.10 (same plan version: other tiers or price rows)",
        ),
    ],
)
def test_one_change_is_one_part(changes: dict[str, Any], part: str, cents: int, text: str) -> None:
    """What alone has changed is the only part, with its count or price in words."""
    (sentence,) = explained([group()], [group(**changes)]).sentences

    assert (sentence.part, sentence.cents, sentence.text) == (part, cents, text)


def test_calls_that_move_to_another_model_are_mix() -> None:
    """The same number of tickets, 30 of them by a dearer model: mix, at that model's price."""
    new = [group(70), group(30, model="large", model_class="premium", charge_pico=15 * DOLLAR)]

    (sentence,) = explained([group(100)], new).sentences

    assert (sentence.part, sentence.cents) == ("mix", 30 * 40)
    assert sentence.text == "30 tickets in workspace support moved from small (standard) to large (premium)"


def tiered(quantity: int, charge_pico: int, **changes: Any) -> UsageGroup:
    """Return tickets that had their price by the unit, in tiers of 10 and 8 cents, whatever the calls cost."""
    prices = {"unit_price": PriceRange(8 * CENT, 10 * CENT), "margin_share": PriceRange(1, 10**6)}
    return group(quantity, charge_pico=charge_pico, **prices, **changes)


def test_tiers_are_no_mix() -> None:
    """Models that share the tiers of one price are worth the same, whichever came in the cheaper tier."""
    old = [tiered(100, 10 * DOLLAR), tiered(100, 8 * DOLLAR, model="large")]
    new = [tiered(150, 12 * DOLLAR), tiered(50, 5 * DOLLAR, model="large")]

    assert parts(old, new) == {"price": -100}


def test_units_that_only_allowances_covered_before_have_the_old_price_of_their_feature() -> None:
    """What one workspace paid for says what the others' units were worth."""
    old = [tiered(100, 10 * DOLLAR), tiered(50, 0, covered=50, workspace="sales")]
    new = [tiered(100, 10 * DOLLAR), tiered(50, 4 * DOLLAR, workspace="sales")]

    assert parts(old, new) == {"allowance": 500, "price": -100}


def test_a_percentage_on_the_cost_makes_each_model_its_own_price() -> None:
    """Where prices follow the cost, a move between models is mix though their prices overlap."""
    by_cost = {"unit_price": PriceRange(CENT, 20 * CENT), "margin_share": PriceRange(10**6, 10**6)}
    dear = {"model": "large", "cost_charged_pico": 3 * DOLLAR, "charge_pico": 6 * DOLLAR}
    old = [group(100, charge_pico=8 * DOLLAR, **by_cost)]
    new = [group(70, charge_pico=70 * 8 * CENT, **by_cost), group(30, **dear, **by_cost)]

    assert parts(old, new) == {"mix": 600 - 30 * 8}


def test_volume_and_allowance_are_told_apart() -> None:
    """With more used and as much included, volume is at the price of paid units and the allowance covers its part."""
    old, new = [group(300, covered=300)], [group(700, covered=500)]

    assert parts(old, new) == {"volume": 4000, "allowance": -2000}


def test_further_calls_of_an_action_are_counted_as_calls() -> None:
    """Lines of quantity 0 are counted, not their quantity."""
    call = {"quantity": 0, "counted": False, "cost_charged_pico": DOLLAR}
    old = [group(**call, lines=10, charged_lines=10, charge_pico=DOLLAR)]
    new = [group(**call, lines=15, charged_lines=15, charge_pico=15 * DOLLAR // 10)]

    (sentence,) = explained(old, new).sentences

    assert (sentence.part, sentence.cents) == ("volume", 50)
    assert sentence.text == "5 more further calls in workspace support (reply)"


def test_late_usage_and_calls_at_cost_are_parts_of_their_own() -> None:
    """Late lines count as late whatever their kind, failed calls by their kind."""
    new = [group(), group(5, late=True), group(0, kind="failed", charged_lines=3, charge_pico=7 * CENT)]

    assert parts([group()], new) == {"late": 50, "at_cost": 7}


def test_a_first_period_is_compared_with_nothing() -> None:
    """Everything is new, and a note says that there is nothing before."""
    found = explain_difference("acme", "helpdesk", "2026-11-01", None, [], [group(100, covered=50)])

    assert found.notes == ("This is the first period of acme with helpdesk: it is compared with nothing.",)
    assert [(each.part, each.cents) for each in found.sentences] == [("volume", 1000), ("allowance", -500)]


def test_small_changes_are_summed() -> None:
    """Beyond the biggest of a part, one sentence holds the rest."""
    old = [group(100, workspace=f"w{number:02d}") for number in range(30)]
    new = [group(100 + number, workspace=each.workspace) for number, each in enumerate(old)]

    found = explained(old, new)

    assert len(found.sentences) == 9
    assert sum(each.cents for each in found.sentences) == found.difference_cents == 10 * sum(range(30))
    assert any(each.text == "other changes of volume" for each in found.sentences)


@given(groups(), groups())
def test_sentences_come_biggest_first_and_rounding_last(old: list[UsageGroup], new: list[UsageGroup]) -> None:
    """In cents, without the sign."""
    sentences = explained(old, new).sentences

    named = [each for each in sentences if each.part != "rounding"]
    assert [each.part for each in sentences[len(named) :]] in ([], ["rounding"])
    assert [abs(each.cents) for each in named] == sorted((abs(each.cents) for each in named), reverse=True)
    assert all(each.cents == round_to_cents(each.pico) for each in named)

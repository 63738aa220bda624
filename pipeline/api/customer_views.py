"""What a customer is told of its charges: its prices, not how platform, provider and builder share them (docs/api.md)."""

from typing import Any

from pipeline.domain.explanations import LineExplanation, PriceStep
from pipeline.domain.explanations_words import amount_text, number_text

COSTS = ("cost", "cost_charged", "margin", "provider_reward", "builder_earnings")
_HIDDEN = frozenset({*COSTS, *(f"{name}_pico" for name in COSTS), "cost_from"})
_STEPS = ("What", "When", "Plan", "Kind", "Pool", "Left", "Budget", "Blocked", "Surcharge")
"""Titles of steps, or how they begin, that say nothing of costs."""


def without_costs(value: Any) -> Any:
    """Return a report in JSON values without what of a charge is cost, margin, reward or earnings."""
    if isinstance(value, list | tuple):
        return [without_costs(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: without_costs(each) for name, each in value.items() if name not in _HIDDEN}


def line_for_customer(explained: LineExplanation) -> dict[str, Any]:
    """Return why a line costs what it does, by the customer's own plan."""
    shown: dict[str, Any] = without_costs(explained.as_dict())
    steps = [step for step in shown["steps"] if step["title"].startswith(_STEPS)]
    surcharges = [step for step in steps if step["title"] == "Surcharge"]
    others = [step for step in steps if step["title"] != "Surcharge"]
    price = [] if explained.price is None else [_step("Price", _price(explained, explained.price), "R6.7")]
    charge = _step("Charge", _charge(explained), "R6.7")
    shown["steps"] = [*others, *price, *surcharges, charge]
    shown["differences"] = [each for each in shown["differences"] if each["field"] not in _HIDDEN]
    return shown


def _step(title: str, text: str, rule: str) -> dict[str, Any]:
    return {"title": title, "rules": [rule], "text": text}


def _price(explained: LineExplanation, price: PriceStep) -> str:
    where = f"Price row {price.row} of the plan" if price.row else "No price row of the plan matches"
    if price.margin_percent_pico is not None:
        return f"{where}: cost plus {number_text(price.margin_percent_pico)} %."
    tiers = " + ".join(f"{each.units:,} x {amount_text(each.price_pico)}" for each in price.tiers)
    base_pico = explained.line.charge_pico - explained.line.surcharge_pico
    return f"{where}: {tiers or '0 units'} = {_money(explained, base_pico)}."


def _charge(explained: LineExplanation) -> str:
    line = explained.line
    if not line.surcharge_pico:
        return f"{_money(explained, line.charge_pico)}."
    price = amount_text(line.charge_pico - line.surcharge_pico)
    return f"{price} price + {amount_text(line.surcharge_pico)} surcharge = {_money(explained, line.charge_pico)}."


def _money(explained: LineExplanation, pico: int) -> str:
    return f"{amount_text(pico)} {explained.currency}"

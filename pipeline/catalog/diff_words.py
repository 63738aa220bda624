"""Plan terms in the customer's language."""

from collections.abc import Iterable

from pipeline.domain.catalog import Allowance, Budget, Match, OveragePolicy, PriceRow, Surcharge
from pipeline.domain.statements import format_exact
from pipeline.domain.words import plural

_PREPOSITIONS = {
    "workspace": "in workspace",
    "feature": "for feature",
    "model": "with model",
    "class": "with models of class",
    "deployment": "from deployment",
    "environment": "in environment",
}
_POLICIES = {"invoice": "are paid by invoice", "prepaid": "are paid from the wallet", "block": "are blocked"}


def amount(pico: int) -> str:
    """Return picodollars with all the decimals they have, two at least."""
    whole, fraction = format_exact(pico).split(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def percent(pico: int) -> str:
    """Return 10^-12 percents, such as "12.5 %"."""
    return f"{format_exact(pico).rstrip('0').rstrip('.')} %"


def what(match: Match) -> str:
    """Return what a match accepts, such as "documents in workspace legal"."""
    units = _either(plural(unit) for unit in sorted(match.get("unit", ()))) or "all units"
    rest = [f"{words} {_either(sorted(match[key]))}" for key, words in _PREPOSITIONS.items() if key in match]
    return " ".join([units, *rest])


def _either(names: Iterable[str]) -> str:
    return " or ".join(names)


def allowance_text(row: Allowance) -> str:
    """Return what an allowance gives."""
    if row.credits is None:
        given = f"{row.included:,} {what(row.match)}"
    else:
        weights = ", ".join(f"a {unit} takes {weight}" for unit, weight in sorted(row.credits.items()))
        given = f"{row.included:,} credits for {what(row.match)} ({weights})"
    return f"{given} a {row.per}{_scope(row.scope)}"


def _scope(scope: str) -> str:
    return "" if scope == "customer" else f" and {scope}"


def price_text(row: PriceRow) -> str:
    """Return how a price row prices."""
    if not row.tiers:
        return f"cost plus {percent(row.margin_percent_pico)}"
    if len(row.tiers) == 1:
        return f"{amount(row.tiers[0].price_pico)} each"
    steps = [f"{amount(tier.price_pico)} each up to {tier.up_to:,}" for tier in row.tiers[:-1]]
    return f"{', '.join(steps)}, then {amount(row.tiers[-1].price_pico)}"


def surcharge_text(row: Surcharge) -> str:
    """Return what a surcharge adds."""
    parts = []
    if row.per_unit_pico:
        parts.append(f"{amount(row.per_unit_pico)} each")
    if row.percent_of_cost_pico:
        parts.append(f"{percent(row.percent_of_cost_pico)} of the model's cost")
    return f"{' and '.join(parts) or 'nothing'} on {what(row.match)}"


def budget_text(row: Budget) -> str:
    """Return what a budget limits."""
    limit = f"{row.quantity:,}" if row.quantity is not None else amount(row.amount_pico or 0)
    action = "then they are blocked" if row.blocks else "then there is an alert"
    return f"{limit} for {what(row.match)} a {row.per}{_scope(row.scope)}, {action}"


def policy_text(policy: OveragePolicy) -> str:
    """Return what becomes of units beyond what is included."""
    return _POLICIES[policy]

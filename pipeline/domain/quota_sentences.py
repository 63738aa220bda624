"""Decisions in the customer's words (R8.3)."""

from pipeline.domain.budgets import OVERAGE_BLOCKED, WALLET_EMPTY
from pipeline.domain.catalog import Surcharge
from pipeline.domain.instants import format_instant
from pipeline.domain.money import round_to_cents
from pipeline.domain.overage import surcharge_of
from pipeline.domain.preview import Preview
from pipeline.domain.quota import Request
from pipeline.domain.tariffs import BudgetSlot
from pipeline.domain.words import count_of, plural

_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}


def sentence_of(currency: str, request: Request, seen: Preview, reason: str | None, budget: BudgetSlot | None) -> str:
    """Return what becomes of a call, and about what it costs."""
    if reason is not None:
        return _denial(request, seen, reason, budget)
    if seen.covered is None:
        return "This call is not charged."
    if seen.charges_nothing:
        return _covered(request, seen)
    return _price(currency, request, seen)


def format_amount(currency: str, pico: int) -> str:
    """Return an amount rounded to the cent, such as "$0.21"; one that is not 0 never as 0."""
    sign = _SIGNS.get(currency, f"{currency} ")
    cents = round_to_cents(pico)
    if cents == 0 and pico > 0:
        return f"less than {sign}0.01"
    text = f"{sign}{abs(cents) // 100:,}.{abs(cents) % 100:02d}"
    return f"-{text}" if cents < 0 else text


def _covered(request: Request, seen: Preview) -> str:
    covered = seen.covered
    assert covered is not None
    if not request.quantity:
        return "This call belongs to what your plan includes."
    is_or_are = "is" if request.quantity == 1 else "are"
    if not covered.granted:
        return f"{count_of(request.quantity, request.unit)} {is_or_are} included in your plan."
    if not covered.included:
        return f"{count_of(request.quantity, request.unit)} {is_or_are} covered by extra quantity you were granted."
    parts = f"{covered.included:,} by your plan, {covered.granted:,} by extra quantity you were granted"
    return f"{count_of(request.quantity, request.unit)} {is_or_are} covered: {parts}."


def _price(currency: str, request: Request, seen: Preview) -> str:
    paid = seen.paid
    about = format_amount(currency, paid.charge_pico)
    about = about if about.startswith("less") else f"about {about}"
    if request.quantity:
        is_or_are = "is" if paid.overage == 1 else "are"
        text = f"{paid.overage:,} of {count_of(request.quantity, request.unit)} {is_or_are} paid: {about}"
    else:
        text = f"This call is paid: {about}"
    parts = [
        f"{format_amount(currency, pico)} {_name(surcharge)}"
        for surcharge in seen.tariff.terms.surcharges
        if (pico := surcharge_of(surcharge, paid.overage, paid.cost_charged_pico))
    ]
    return f"{text}, of which {' and '.join(parts)}." if parts else f"{text}."


def _name(surcharge: Surcharge) -> str:
    for_model = "class" in surcharge.match or "model" in surcharge.match
    return f"{surcharge.id} model surcharge" if for_model else f"{surcharge.id} surcharge"


def _denial(request: Request, seen: Preview, reason: str, budget: BudgetSlot | None) -> str:
    missing = f"{seen.left_over:,} of {count_of(request.quantity, request.unit)}" if request.quantity else "This call"
    are = "is" if seen.left_over == 1 else "are"
    if reason == OVERAGE_BLOCKED:
        return f"{missing} {are} not included any more, and your plan does not allow extra {plural(request.unit)}."
    if reason == WALLET_EMPTY:
        return f"{missing} {are} not included any more, and your prepaid balance is used up. Top it up to go on."
    assert budget is not None
    until = format_instant(min(budget.end_us, seen.tariff.until_us))[:16].replace("T", " ")
    scope = f" of {budget.limits.scope} {budget.scope_value}" if budget.scope_value else ""
    return f"{missing} {are} beyond budget {budget.limits.id}{scope}, which begins afresh at {until} UTC."

"""What differs between two versions of a plan's terms, in sentences."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from pipeline.catalog.diff_words import (
    allowance_text,
    budget_text,
    policy_text,
    price_text,
    surcharge_text,
    what,
)
from pipeline.domain.catalog import Allowance, Budget, Plan, PriceRow
from pipeline.domain.words import plural

_KINDS_TEXT = {"free": "are free", "cost": "are charged at cost"}


class _Named(Protocol):
    @property
    def id(self) -> str: ...


RowT = TypeVar("RowT", bound=_Named)


def plan_changes(old: Plan, new: Plan) -> list[str]:
    """Return what changes for a customer who goes from one plan version to another; empty when nothing does."""
    return [
        *_frame(old, new),
        *_rows("included", old.allowances, new.allowances, allowance_text),
        *_alerts(old, new),
        *_overage(old, new),
        *_prices(old.prices, new.prices),
        *_rows("surcharge", old.surcharges, new.surcharges, surcharge_text),
        *_rows("budget", old.budgets, new.budgets, budget_text),
        *_kinds(old, new),
    ]


def _frame(old: Plan, new: Plan) -> Iterator[str]:
    if old.app != new.app:
        yield f"the plan is for app {new.app}, no longer for {old.app}"
    if old.anchor_day != new.anchor_day:
        yield f"billing periods begin on day {new.anchor_day} of the month, no longer on day {old.anchor_day}"
    if old.grace_hours != new.grace_hours:
        yield f"usage may come {new.grace_hours} hours after a period's end, no longer {old.grace_hours}, before it is late"
    if old.environments != new.environments:
        yield f"billed environments: {_environments(new)}, no longer {_environments(old)}"


def _environments(plan: Plan) -> str:
    return "all" if plan.environments is None else ", ".join(sorted(plan.environments)) or "none"


def _rows(noun: str, old: Sequence[RowT], new: Sequence[RowT], text: Callable[[RowT], str]) -> Iterator[str]:
    """Yield what differs between rows with ids; a row is named where it appears, goes or changes."""
    before, after = {row.id: row for row in old}, {row.id: row for row in new}
    for name, row in before.items():
        if name not in after:
            yield f"{noun} {name} ends: {text(row)}"
        elif text(row) != text(after[name]):
            yield f"{noun} {name}: {text(after[name])}; until then {text(row)}"
    for name, row in after.items():
        if name not in before:
            yield f"{noun} {name} is new: {text(row)}"
    kept = [name for name in before if name in after]
    if kept != [name for name in after if name in before]:
        yield f"{noun}: the order becomes {', '.join(after)}"


def _alerts(old: Plan, new: Plan) -> Iterator[str]:
    """Yield changed thresholds, which are not part of a row's text."""
    old_rows: list[Allowance | Budget] = [*old.allowances, *old.budgets]
    new_rows: list[Allowance | Budget] = [*new.allowances, *new.budgets]
    before = {(type(row), row.id): row.alerts for row in old_rows}
    for row in new_rows:
        was = before.get((type(row), row.id), row.alerts)
        if was != row.alerts:
            yield f"alerts of {row.id}: at {_percents(row.alerts)}, no longer at {_percents(was)}"


def _percents(alerts: Iterable[int]) -> str:
    return ", ".join(f"{threshold} %" for threshold in alerts) or "nothing"


def _overage(old: Plan, new: Plan) -> Iterator[str]:
    for unit in sorted({*old.overage, *new.overage, "default"}):
        before = old.overage.get(unit) or old.overage.get("default") or "invoice"
        after = new.overage.get(unit) or new.overage.get("default") or "invoice"
        if before != after:
            units = "units" if unit == "default" else plural(unit)
            yield f"{units} beyond what is included {policy_text(after)}; until then they {policy_text(before)}"


def _prices(old: Sequence[PriceRow], new: Sequence[PriceRow]) -> Iterator[str]:
    """Yield what differs between price rows; the first that matches counts, so that their order may matter."""
    before, after = _by_match(old), _by_match(new)
    for name, row in before.items():
        if name not in after:
            yield f"the price of {name} ends: {price_text(row)}"
        elif price_text(row) != price_text(after[name]):
            yield f"price of {name}: {price_text(after[name])}; until then {price_text(row)}"
    for name, row in after.items():
        if name not in before:
            yield f"price of {name} is new: {price_text(row)}"
    kept = [name for name in before if name in after]
    if kept != [name for name in after if name in before]:
        yield f"prices: the order becomes {'; '.join(after)}"


def _by_match(rows: Sequence[PriceRow]) -> dict[str, PriceRow]:
    """Return rows by what they match; of several with the same match only the first ever counts."""
    found: dict[str, PriceRow] = {}
    for row in rows:
        found.setdefault(what(row.match), row)
    return found


def _kinds(old: Plan, new: Plan) -> Iterator[str]:
    for noun, before, after in (("failed calls", old.failed, new.failed), ("repeats", old.repeats, new.repeats)):
        if before != after:
            yield f"{noun} {_KINDS_TEXT[after]}; until then they {_KINDS_TEXT[before]}"

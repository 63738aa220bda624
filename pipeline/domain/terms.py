"""What a plan says about one shape of event: who it matches, and by what it is priced (R4.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

from pipeline.domain.catalog import (
    STANDARD_CLASS,
    Allowance,
    Budget,
    Catalog,
    Match,
    OveragePolicy,
    Plan,
    PriceRow,
    Surcharge,
)
from pipeline.domain.events import UsageEvent

_SHAPES_MAX = 20_000
COST_PLUS_NOTHING = PriceRow()


@dataclass(frozen=True, slots=True)
class PoolTerms:
    """A matching allowance, the weight of one unit in it, the scope value it is kept for, and that one's shelf."""

    allowance: Allowance
    weight: int
    scope_value: str
    shelf: int


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """A matching budget, the scope value it is kept for, and that one's shelf."""

    budget: Budget
    scope_value: str
    shelf: int


@dataclass(frozen=True, slots=True)
class Terms:
    """A plan's answer to one shape of event."""

    model_class: str
    billable: bool
    pools: tuple[PoolTerms, ...]
    policy: OveragePolicy
    price_index: int
    """Place of the price row in the plan, -1 when none matches: names the tier counter (R6.7)."""
    price: PriceRow
    surcharges: tuple[Surcharge, ...]
    budgets: tuple[BudgetTerms, ...]
    attributes: Mapping[str, str]
    """What matches compare with, for grants, which are not the plan's."""


class TermsIndex:
    """Answers of a catalog's plans, remembered by shape of event. A pure look-up: forgetting changes no answer."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: dict[tuple[str, ...], Terms] = {}

    def of(self, plan: Plan, event: UsageEvent) -> Terms:
        """Return the terms of a plan for an event."""
        shape = (
            plan.id,
            str(plan.version),
            event.source,
            event.environment,
            event.workspace,
            event.feature,
            event.model,
            event.unit,
        )
        terms = self._known.get(shape)
        if terms is None:
            if len(self._known) >= _SHAPES_MAX:
                self._known.clear()
            terms = self._known[shape] = terms_of(self._catalog, plan, event)
        return terms


def shelf_of(scope_value: str) -> int:
    """Return on which of 256 shelves the counters of a deployment or workspace lie.

    A shelf is what is written at once: a sender of ever new workspaces makes many shelves, not one that has no end.
    """
    return crc32(scope_value.encode()) & 0xFF


def weight_of(credits_: Mapping[str, int] | None, unit: str) -> int | None:
    """Return what one unit costs a pool, None when the pool does not take the unit (R6.4)."""
    return 1 if credits_ is None else credits_.get(unit)


def matches(match: Match, attributes: Mapping[str, str]) -> bool:
    """Return whether every key of a match accepts the event's value (R4.2)."""
    return all(attributes[key] in accepted for key, accepted in match.items())


def terms_of(catalog: Catalog, plan: Plan, event: UsageEvent) -> Terms:
    """Return the terms of a plan for an event, worked out anew."""
    model = catalog.models.get(event.model)
    attributes = {
        "unit": event.unit,
        "workspace": event.workspace,
        "feature": event.feature,
        "model": event.model,
        "class": model.model_class if model else STANDARD_CLASS,
        "deployment": event.source,
        "environment": event.environment,
    }
    scope_values = {"customer": "", "deployment": event.source, "workspace": event.workspace}
    pools = []
    for allowance in plan.allowances:
        weight = weight_of(allowance.credits, event.unit)
        if weight is not None and matches(allowance.match, attributes):
            scope_value = scope_values[allowance.scope]
            pools.append(PoolTerms(allowance, weight, scope_value, shelf_of(scope_value)))
    price_index, price = next(
        ((index, row) for index, row in enumerate(plan.prices) if matches(row.match, attributes)),
        (-1, COST_PLUS_NOTHING),
    )
    return Terms(
        model_class=attributes["class"],
        billable=plan.environments is None or event.environment in plan.environments,
        pools=tuple(pools),
        policy=plan.overage.get(event.unit) or plan.overage.get("default") or "invoice",
        price_index=price_index,
        price=price,
        surcharges=tuple(each for each in plan.surcharges if matches(each.match, attributes)),
        budgets=tuple(
            BudgetTerms(each, scope_values[each.scope], shelf_of(scope_values[each.scope]))
            for each in plan.budgets
            if matches(each.match, attributes)
        ),
        attributes=attributes,
    )

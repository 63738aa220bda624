"""What a plan says about one shape of event: who it matches, and by what it is priced (R4.2)."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.domain.catalog import (
    STANDARD_CLASS,
    Allowance,
    Budget,
    Catalog,
    Match,
    Model,
    OveragePolicy,
    Plan,
    PriceRow,
    Surcharge,
)
from pipeline.domain.events import UsageEvent

_SHAPES_MAX = 20_000
COST_PLUS_NOTHING = PriceRow()


@dataclass(frozen=True, slots=True)
class Terms:
    """A plan's answer to one shape of event."""

    model: Model | None
    """None when the catalog does not have it: then the event must bring its cost (R5.2)."""
    billable: bool
    pools: tuple[tuple[Allowance, int], ...]
    """Matching allowances, each with what one unit costs it."""
    policy: OveragePolicy
    price_index: int
    """Place of the price row in the plan, -1 when none matches: names the tier counter (R6.7)."""
    price: PriceRow
    surcharges: tuple[Surcharge, ...]
    budgets: tuple[Budget, ...]

    @property
    def model_class(self) -> str:
        """Return the class of the model (R5.2)."""
        return self.model.model_class if self.model else STANDARD_CLASS


class TermsIndex:
    """Answers of a catalog's plans, remembered by shape of event. A pure look-up: forgetting changes no answer."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._known: dict[tuple[str | int, ...], Terms] = {}
        self._tell_apart = {
            key for key, plan in catalog.plans.items() if any("deployment" in each for each in _matches_of(plan))
        }
        """The plans whose answer depends on the deployment."""

    def of(self, plan: Plan, event: UsageEvent) -> Terms:
        """Return the terms of a plan for an event."""
        shape = (
            plan.id,
            plan.version,
            event.source if (plan.id, plan.version) in self._tell_apart else "",
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
            terms = self._known[shape] = terms_of(self.catalog, plan, event)
        return terms


def weight_of(credits_: Mapping[str, int] | None, unit: str) -> int | None:
    """Return what one unit costs a pool, None when the pool does not take the unit (R6.4)."""
    return 1 if credits_ is None else credits_.get(unit)


def matches(match: Match, attributes: Mapping[str, str]) -> bool:
    """Return whether every key of a match accepts the event's value (R4.2)."""
    return all(attributes[key] in accepted for key, accepted in match.items())


def attributes_of(event: UsageEvent, model: Model | None) -> dict[str, str]:
    """Return what matches compare with (R4.2)."""
    return {
        "unit": event.unit,
        "workspace": event.workspace,
        "feature": event.feature,
        "model": event.model,
        "class": model.model_class if model else STANDARD_CLASS,
        "deployment": event.source,
        "environment": event.environment,
    }


def terms_of(catalog: Catalog, plan: Plan, event: UsageEvent) -> Terms:
    """Return the terms of a plan for an event, worked out anew."""
    model = catalog.models.get(event.model)
    attributes = attributes_of(event, model)
    pools = []
    for allowance in plan.allowances:
        weight = weight_of(allowance.credits, event.unit)
        if weight is not None and matches(allowance.match, attributes):
            pools.append((allowance, weight))
    price_index, price = next(
        ((index, row) for index, row in enumerate(plan.prices) if matches(row.match, attributes)),
        (-1, COST_PLUS_NOTHING),
    )
    return Terms(
        model=model,
        billable=plan.environments is None or event.environment in plan.environments,
        pools=tuple(pools),
        policy=plan.overage.get(event.unit) or plan.overage.get("default") or "invoice",
        price_index=price_index,
        price=price,
        surcharges=tuple(each for each in plan.surcharges if matches(each.match, attributes)),
        budgets=tuple(each for each in plan.budgets if matches(each.match, attributes)),
    )


def _matches_of(plan: Plan) -> list[Match]:
    rows: list[Allowance | PriceRow | Surcharge | Budget]
    rows = [*plan.allowances, *plan.prices, *plan.surcharges, *plan.budgets]
    return [each.match for each in rows]

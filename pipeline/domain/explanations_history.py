"""What earlier lines of a customer have used up: the state that a line was rated in, as far as lines say it (R4.5)."""

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.domain.catalog import Allowance, Budget, Per, Plan, Scope
from pipeline.domain.terms import matches, weight_of


class Windows(NamedTuple):
    """A sum over the account's earlier lines: in the billing period, and in the UTC day and hour of the line at hand."""

    period: int
    day: int
    hour: int

    def of(self, per: Per) -> int:
        """Return the sum in the window that a pool or budget is kept over (R4.2)."""
        return self.period if per == "period" else self.day if per == "day" else self.hour


@dataclass(frozen=True, slots=True)
class PoolHistory:
    """Units of one unit that an allowance has covered."""

    id: str
    scope_value: str
    unit: str
    units: Windows


@dataclass(frozen=True, slots=True)
class GrantHistory:
    """Units of one unit that a grant has covered, under every plan and in every period."""

    id: str
    unit: str
    units: int


@dataclass(frozen=True, slots=True)
class ShapeHistory:
    """Overage and charges of the `usage` lines of one shape."""

    deployment: str
    environment: str
    workspace: str
    feature: str
    model: str
    model_class: str
    unit: str
    overage: Windows
    charge_pico: Windows

    @property
    def attributes(self) -> dict[str, str]:
        """Return what matches compare with (R4.2), as it was when the lines were rated."""
        return {
            "unit": self.unit,
            "workspace": self.workspace,
            "feature": self.feature,
            "model": self.model,
            "class": self.model_class,
            "deployment": self.deployment,
            "environment": self.environment,
        }


@dataclass(frozen=True, slots=True)
class History:
    """What the lines of a customer before one line say: of its account (plan version and period), and of grants."""

    lines: int
    """How many lines of the account were summed."""
    pools: tuple[PoolHistory, ...] = ()
    shapes: tuple[ShapeHistory, ...] = ()
    grants: tuple[GrantHistory, ...] = ()

    def lost(self, allowance: Allowance, scope_value: str) -> int:
        """Return the balance that an allowance has lost in its window (R6.4)."""
        return sum(
            each.units.of(allowance.per) * (weight_of(allowance.credits, each.unit) or 0)
            for each in self.pools
            if (each.id, each.scope_value) == (allowance.id, scope_value)
        )

    def spent(self, budget: Budget, scope_value: str) -> tuple[int, int]:
        """Return the units of overage and the picodollars that a budget has seen in its window (R6.8)."""
        seen = [
            each
            for each in self.shapes
            if scope_of(budget.scope, each.deployment, each.workspace) == scope_value
            and matches(budget.match, each.attributes)
        ]
        units = sum(each.overage.of(budget.per) for each in seen)
        return units, sum(each.charge_pico.of(budget.per) for each in seen)

    def priced(self, plan: Plan, price_index: int) -> int:
        """Return the overage units that a price row has priced in the period (R6.7)."""
        return sum(
            each.overage.period
            for each in self.shapes
            if next((place for place, row in enumerate(plan.prices) if matches(row.match, each.attributes)), -1)
            == price_index
        )

    def granted(self, grant: str) -> dict[str, int]:
        """Return what a grant has covered, by unit."""
        return {each.unit: each.units for each in self.grants if each.id == grant}


def scope_of(scope: Scope, deployment: str, workspace: str) -> str:
    """Return what one pool or budget of a scope is kept for (R4.2)."""
    return {"customer": "", "deployment": deployment, "workspace": workspace}[scope]

"""Lines: the rated results of accepted events (R7.1)."""

from dataclasses import dataclass
from typing import Literal

from pipeline.domain.events import UsageEvent

Kind = Literal["usage", "byok", "non_billable", "failed", "repeat"]


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Units of a line that one allowance or grant covered."""

    id: str
    scope_value: str
    units: int


@dataclass(frozen=True, slots=True)
class Line:
    """One accepted event, rated. Amounts are picodollars, times microseconds since 1970."""

    customer: str
    seq: int
    event: UsageEvent
    posted_us: int
    period: str
    late: bool
    builder: str
    app: str
    plan: str
    plan_version: int
    model_class: str
    kind: Kind
    included: int
    granted: int
    overage: int
    blocked: int
    cost_pico: int
    cost_charged_pico: int
    margin_pico: int
    surcharge_pico: int
    pools: tuple[PoolUse, ...]

    @property
    def charge_pico(self) -> int:
        """What the customer owes for the line (R6.7)."""
        return self.cost_charged_pico + self.margin_pico + self.surcharge_pico

    @property
    def provider_reward_pico(self) -> int:
        """What the provider is owed (R6.9)."""
        return self.cost_charged_pico

    @property
    def builder_earnings_pico(self) -> int:
        """What the builder earns; may be negative (R6.9)."""
        return self.margin_pico + self.surcharge_pico

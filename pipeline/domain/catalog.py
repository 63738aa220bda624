"""The checked catalog: who, what and under which terms (R4). Built by `pipeline.catalog`, read by rating."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Scope = Literal["customer", "deployment", "workspace"]
Per = Literal["period", "day", "hour"]
OveragePolicy = Literal["invoice", "prepaid", "block"]
FreeOrCost = Literal["free", "cost"]

DEFAULT_ALERTS = (80, 100)
DEFAULT_GRACE_HOURS = 72
STANDARD_CLASS = "standard"


@dataclass(frozen=True, slots=True)
class Model:
    """A model and its prices in picodollars per token, exact since prices have at most 6 decimals per million."""

    id: str
    provider: str
    model_class: str
    input_pico: int
    cached_input_pico: int
    output_pico: int


@dataclass(frozen=True, slots=True)
class App:
    """An application and the builder who owns it."""

    id: str
    builder: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """One install of an app by a customer."""

    id: str
    customer: str
    app: str
    air_gapped: bool = False


Match = Mapping[str, frozenset[str]]
"""Match key (R4.2) to its accepted values; every key must match, the empty mapping matches everything."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """A quantity included in a plan. `credits` maps units to weights; None means every unit weighs 1 (R6.4)."""

    id: str
    included: int
    scope: Scope = "customer"
    per: Per = "period"
    match: Match = field(default_factory=dict)
    credits: Mapping[str, int] | None = None
    alerts: tuple[int, ...] = DEFAULT_ALERTS


@dataclass(frozen=True, slots=True)
class Tier:
    """Units up to and including `up_to` (None: without end) at a price in picodollars each."""

    up_to: int | None
    price_pico: int


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A row of a plan's prices: either a margin on cost (`tiers` empty) or a graduated price per unit (R6.7).

    `margin_percent_pico` is in 10^-12 of a percent.
    """

    match: Match = field(default_factory=dict)
    margin_percent_pico: int = 0
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True, slots=True)
class Surcharge:
    """What a builder adds: picodollars per unit of overage, and 10^-12 percent of the cost charged (R6.7)."""

    id: str
    match: Match = field(default_factory=dict)
    per_unit_pico: int = 0
    percent_of_cost_pico: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on overage, by charge (`amount_pico`) or by units (`quantity`); exactly one of them is set (R6.5)."""

    id: str
    blocks: bool
    """Whether the action is `block`; otherwise the budget only alerts."""
    amount_pico: int | None = None
    quantity: int | None = None
    scope: Scope = "customer"
    per: Per = "period"
    match: Match = field(default_factory=dict)
    alerts: tuple[int, ...] = DEFAULT_ALERTS


@dataclass(frozen=True, slots=True)
class Plan:
    """One published version of a plan: its terms never change (R4.3)."""

    id: str
    version: int
    app: str
    anchor_day: int = 1
    grace_hours: int = DEFAULT_GRACE_HOURS
    environments: frozenset[str] | None = None
    """The billable ones; None = all."""
    allowances: tuple[Allowance, ...] = ()
    overage: Mapping[str, OveragePolicy] = field(default_factory=dict)
    """Unit, or "default", to policy; what is absent is `invoice` (R6.5)."""
    prices: tuple[PriceRow, ...] = ()
    surcharges: tuple[Surcharge, ...] = ()
    budgets: tuple[Budget, ...] = ()
    failed: FreeOrCost = "free"
    repeats: FreeOrCost = "free"


@dataclass(frozen=True, slots=True)
class Subscription:
    """A customer's plan version in [start_us, end_us); end None = open. Migrations are already applied (R4.3)."""

    customer: str
    plan: Plan
    start_us: int
    end_us: int | None = None


@dataclass(frozen=True, slots=True)
class PayoutTerms:
    """How long after a month's end, and from which amount on, builders are paid for it (R11.3)."""

    hold_days: int = 14
    minimum_pico: int = 0


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that rating looks up."""

    currency: str
    platform_fee_percent_pico: int
    """Of a builder's positive earnings, in 10^-12 percent (R8.2)."""
    models: Mapping[str, Model]
    builders: Mapping[str, str]
    """Builder id to name."""
    apps: Mapping[str, App]
    customers: Mapping[str, str]
    """Customer id to name."""
    deployments: Mapping[str, Deployment]
    plans: Mapping[tuple[str, int], Plan]
    subscriptions: Mapping[tuple[str, str], tuple[Subscription, ...]]
    """(customer, app) to the subscriptions, by start, without overlap."""
    payouts: PayoutTerms = PayoutTerms()
    digest: str = field(default="", compare=False)
    """Names this version in lines (R10.4); empty for one that was not read from files, such as a customer's view."""

    def subscription_at(self, customer: str, app: str, instant_us: int) -> Subscription | None:
        """Return the subscription that applies to a customer's app at an instant, None without one (R4.3)."""
        for subscription in self.subscriptions.get((customer, app), ()):
            if subscription.start_us <= instant_us and (
                subscription.end_us is None or instant_us < subscription.end_us
            ):
                return subscription
        return None

    def plan_at(self, customer: str, app: str, instant_us: int) -> Plan | None:
        """Return the plan version that applies to a customer's app at an instant, None without one (R4.3)."""
        subscription = self.subscription_at(customer, app, instant_us)
        return None if subscription is None else subscription.plan


NO_CATALOG = Catalog("", 0, {}, {}, {}, {}, {}, {}, {})
"""Stands for the catalog until the first version is published: nothing is rated by it."""

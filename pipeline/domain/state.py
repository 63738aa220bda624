"""What is remembered of a customer between events. Everything that a decision depends on is here."""

from dataclasses import dataclass, field

from pipeline.domain.grants import Grant

CounterKey = tuple[str, str, int]
"""(pool or budget id, scope value, start of the hour window or -1)."""
WindowKey = tuple[int, int]
"""(start of the UTC day or PERIOD, shelf of the scope value): where the counters of a window are kept."""
PERIOD = -1
"""Stands for the billing period as a window."""
AccountKey = tuple[str, int, str]
"""(plan, version, period name): what pools, tiers, budgets and operations belong to (R4.5)."""


@dataclass(slots=True)
class Spent:
    """What a budget has seen in one window: units of overage, and charges in picodollars (R6.8)."""

    units: int = 0
    charge_pico: int = 0


@dataclass(slots=True)
class Counters:
    """The pools and budgets of one window: what they have lost so far, so that an absent entry is an untouched one."""

    pools: dict[CounterKey, int] = field(default_factory=dict)
    """Used balance of each allowance: units times weight."""
    budgets: dict[CounterKey, Spent] = field(default_factory=dict)


@dataclass(slots=True)
class Account:
    """A customer under one plan version in one period (R4.5)."""

    retires_us: int
    """The watermark at which operations and shorter windows are forgotten (docs/rules.md, R6.2)."""
    windows: dict[WindowKey, Counters] = field(default_factory=dict)
    """The pools and budgets kept per period, and those per day, and per hour of that day (R4.2)."""
    tiers: dict[int, int] = field(default_factory=dict)
    """Index of a price row to the overage units it has priced (R6.7)."""
    operations: set[bytes] = field(default_factory=set)
    """Digests of (source, operation, unit) of the `usage` events with quantity >= 1 (R6.2)."""


@dataclass(slots=True)
class GrantPool:
    """A grant, from when on it is in effect, and what is left of it."""

    grant: Grant
    effective_us: int
    balance: int


@dataclass(slots=True)
class Identity:
    """An accepted event, for telling its duplicates from conflicts (R6.1). `accepted_ms` is the watermark then."""

    accepted_ms: int
    content: bytes


@dataclass(slots=True)
class CustomerState:
    """All that is remembered of one customer."""

    customer: str
    watermark_ms: int = -1
    """Largest record timestamp so far (R3.2)."""
    seq: int = 0
    """Number of the last line (R7.2)."""
    wallet_pico: int = 0
    grant_ids: set[str] = field(default_factory=set)
    """Of all grants and top-ups ever (R2.5)."""
    grants: list[GrantPool] = field(default_factory=list)
    """With something left, in waterfall order (R6.4)."""
    accounts: dict[AccountKey, Account] = field(default_factory=dict)
    identities: dict[bytes, Identity] = field(default_factory=dict)
    events_applied: int = -1
    """Offset in `usage.events` up to which this state holds every record of the customer."""
    grants_applied: int = -1
    """The same for `billing.grants`."""

    @property
    def version(self) -> int:
        """Grows with every applied record; a later rating of the same line has the larger version (DESIGN 4.7)."""
        return self.events_applied + self.grants_applied + 2

"""What is remembered of a customer between events. Everything that a decision depends on is here."""

from typing import TYPE_CHECKING

import msgspec

from pipeline.domain.digests import DIGEST_SIZE, DigestTable
from pipeline.domain.events import UsageEvent
from pipeline.domain.grants import Grant

if TYPE_CHECKING:
    from pipeline.domain.tariffs import BudgetSlot, PoolSlot, Shape, Tariff

CounterKey = tuple[str, str, int]
"""(pool or budget id, scope value, start of the hour window or -1)."""
WindowKey = tuple[int, int]
"""(start of the UTC day or PERIOD, shelf of the scope value): where the counters of a window are kept."""
PERIOD = -1
"""Stands for the billing period as a window."""
AccountKey = tuple[str, int, str]
"""(plan, version, period name): what pools, tiers, budgets and operations belong to (R4.5)."""
SlotKey = tuple[AccountKey, str, str]
"""(account, pool or budget id, scope value)."""
CONTENT_SIZE = 8
STAMP_SIZE = 6
IDENTITY_SIZE = DIGEST_SIZE + CONTENT_SIZE + STAMP_SIZE
"""Bytes of a remembered identity: its digest, the digest of its content, the watermark at which it was accepted (R6.1)."""


def _operations() -> DigestTable:
    return DigestTable(DIGEST_SIZE)


def _identities() -> DigestTable:
    return DigestTable(IDENTITY_SIZE)


class Used(msgspec.Struct, gc=False):
    """What an allowance has lost in one window: units times weight."""

    balance: int = 0
    alert_from: int = 0
    """The balance below which no threshold is reached (R6.10); not to be stored, 0 when it is not known."""


class Spent(msgspec.Struct, gc=False):
    """What a budget has seen in one window: units of overage, and charges in picodollars (R6.8)."""

    units: int = 0
    charge_pico: int = 0
    alert_from: int = 0
    """The use of the limit below which no threshold is reached (R6.10); not to be stored, 0 when it is not known."""


class Counters(msgspec.Struct, gc=False):
    """The pools and budgets of one window: what they have lost so far; an absent entry is an untouched one."""

    pools: dict[CounterKey, Used] = msgspec.field(default_factory=dict)
    budgets: dict[CounterKey, Spent] = msgspec.field(default_factory=dict)
    changed: bool = False
    """Noted in the customer's `changed`."""


class Account(msgspec.Struct, gc=False):
    """A customer under one plan version in one period (R4.5)."""

    retires_us: int
    """The watermark at which operations and shorter windows are forgotten (docs/rules.md, R6.2)."""
    windows: dict[WindowKey, Counters] = msgspec.field(default_factory=dict)
    """The pools and budgets kept per period, and those per day, and per hour of that day (R4.2)."""
    tiers: dict[int, int] = msgspec.field(default_factory=dict)
    """Index of a price row to the overage units it has priced (R6.7)."""
    operations: DigestTable = msgspec.field(default_factory=_operations)
    """Digests of (source, operation, unit) of the `usage` events with quantity >= 1 (R6.2)."""
    changed: bool = False
    """Noted in the customer's `changed`."""


class GrantPool(msgspec.Struct):
    """A grant, from when on it is in effect, and what is left of it."""

    grant: Grant
    effective_us: int
    balance: int


class Hold(msgspec.Struct, frozen=True):
    """A reservation that is in force (R9.2)."""

    usage: UsageEvent
    """What it holds."""
    expires_ms: int
    """The watermark at which it ends (R9.3)."""


class Answer(msgspec.Struct, frozen=True):
    """What became of a reservation that was asked for (R9.2)."""

    source: str
    id: str
    refused: str | None = None
    """Why it is not held; None when it is."""


class CustomerState(msgspec.Struct, gc=False):
    """All that is remembered of one customer. Nothing in it may lead back to it: the collector of cycles does not look."""

    customer: str
    watermark_ms: int = -1
    """Largest record timestamp so far (R3.2)."""
    seq: int = 0
    """Number of the last line (R7.2)."""
    wallet_pico: int = 0
    grant_ids: set[str] = msgspec.field(default_factory=set)
    """Of all grants and top-ups ever (R2.5)."""
    grants: list[GrantPool] = msgspec.field(default_factory=list)
    """With something left, in waterfall order (R6.4)."""
    accounts: dict[AccountKey, Account] = msgspec.field(default_factory=dict)
    identities: DigestTable = msgspec.field(default_factory=_identities)
    """Accepted events, for telling their duplicates from conflicts (R6.1)."""
    holds: dict[tuple[str, str], Hold] = msgspec.field(default_factory=dict)
    """(source, reservation id) to the reservations in force, in the order in which they came (R9.2)."""
    closed_us: dict[str, int] = msgspec.field(default_factory=dict)
    """App to the end of its latest closed period: nothing is posted before it any more (R10.2)."""
    events_applied: int = -1
    """Offset in `usage.events` up to which this state holds every record of the customer."""
    grants_applied: int = -1
    """The same for `billing.grants`."""
    oldest_identity_ms: int = -1
    """No identity was accepted at a smaller watermark; -1 when it is not known."""
    tariffs: "dict[Shape, Tariff]" = msgspec.field(default_factory=dict)
    """What was worked out for shapes of events: a memory, no state."""
    late_tariffs: "dict[Shape, Tariff]" = msgspec.field(default_factory=dict)
    """The same for late events, by the time at which they are posted (R3.2)."""
    pool_slots: "dict[SlotKey, PoolSlot]" = msgspec.field(default_factory=dict)
    """What the tariffs share: where allowances are counted."""
    budget_slots: "dict[SlotKey, BudgetSlot]" = msgspec.field(default_factory=dict)
    """The same for budgets."""
    changed: list[tuple[AccountKey, WindowKey | None]] = msgspec.field(default_factory=list)
    """Accounts (None) and windows that have changed since somebody last emptied the list."""

    quota_changed: bool = False
    """Wallet, grants or reservations have changed since somebody last looked: a memory, no state."""
    answers: list[Answer] = msgspec.field(default_factory=list)
    """What became of reservations since somebody last took them away: a memory, no state."""

    @property
    def version(self) -> int:
        """Grows with every applied record; a later rating of the same line has the larger version (DESIGN 4.7)."""
        return self.events_applied + self.grants_applied + 2

    def forget_tariffs(self) -> None:
        """Forget what was worked out."""
        self.tariffs.clear()
        self.late_tariffs.clear()
        self.pool_slots.clear()
        self.budget_slots.clear()

    def note_account(self, key: AccountKey, account: Account) -> None:
        """Note that an account has changed, its windows apart."""
        if not account.changed:
            account.changed = True
            self.changed.append((key, None))

    def note_window(self, key: AccountKey, window: WindowKey, counters: Counters) -> None:
        """Note that the counters of a window have changed."""
        if not counters.changed:
            counters.changed = True
            self.changed.append((key, window))

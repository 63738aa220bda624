"""What applies to one shape of a customer's events for a stretch of time, worked out once: a tariff.

It says by which plan, period and terms such an event is rated, and holds on to the counters it changes. It is a memory
of look-ups, no state: dropping it changes no result.
"""

from collections.abc import Callable
from typing import Any, TypeVar
from zlib import crc32

from pipeline.domain.alerts import Alert, alert_from, reached
from pipeline.domain.catalog import Allowance, Budget, Deployment, Subscription
from pipeline.domain.dedupe import HORIZON_DAYS
from pipeline.domain.events import UsageEvent
from pipeline.domain.instants import DAY_US, HOUR_US, format_instant
from pipeline.domain.lines import Kind
from pipeline.domain.periods import Period, period_at
from pipeline.domain.rejects import NO_SUBSCRIPTION, Rejected
from pipeline.domain.state import PERIOD, Account, CounterKey, Counters, CustomerState, SlotKey, Spent, Used, WindowKey
from pipeline.domain.terms import Terms, TermsIndex

Shape = tuple[str, str, str, str, str, str]
"""(source, environment, workspace, feature, model, unit) of an event."""
_TARIFFS_MAX = 2000
"""Of one customer: a sender of ever new workspaces has ever new shapes."""
_NO_COUNTERS = Counters()
_NOTHING_USED = Used()
_NOTHING_SPENT = Spent()
"""Stand where no window is entered yet; never changed."""
_BEGINNING_US = -(1 << 62)
_END_US = 1 << 62


class _Slot:
    """Where a pool or budget counts: the counters of the window that holds the posting time."""

    __slots__ = ("counters", "end_us", "limits", "scope_value", "shelf", "start_us", "window")

    def __init__(self, limits: Allowance | Budget, scope_value: str) -> None:
        self.limits = limits
        self.scope_value = scope_value
        self.shelf = shelf_of(scope_value)
        self.start_us = self.end_us = 0
        """[start, end) of the window; empty at first."""
        self.window: WindowKey = (PERIOD, self.shelf)
        self.counters = _NO_COUNTERS

    def _enter(self, account: Account, posted_us: int) -> CounterKey:
        """Go to the window that holds a posting time, and return the place in its counters."""
        per, hour_us = self.limits.per, -1
        if per == "period":
            self.start_us, self.end_us = _BEGINNING_US, _END_US  # a tariff lies within one period
        elif per == "day":
            self.start_us = posted_us // DAY_US * DAY_US
            self.end_us = self.start_us + DAY_US
        else:
            self.start_us = hour_us = posted_us // HOUR_US * HOUR_US
            self.end_us = self.start_us + HOUR_US
        self.window = (PERIOD if per == "period" else posted_us // DAY_US * DAY_US, self.shelf)
        counters = account.windows.get(self.window)
        if counters is None:
            counters = account.windows[self.window] = Counters()
        self.counters = counters
        return (self.limits.id, self.scope_value, hour_us)

    def alerts(self, state: CustomerState, period: str, limit: int, before: int, after: int) -> list[Alert]:
        """Return the alerts of the customer's last line, which made the use grow (R6.10)."""
        return [
            Alert(state.customer, period, self.limits.id, self.scope_value, threshold, state.seq)
            for threshold in reached(self.limits.alerts, limit, before, after)
        ]


class PoolSlot(_Slot):
    """An allowance, and what the window at hand has used of it."""

    __slots__ = ("included", "used")

    def __init__(self, allowance: Allowance, scope_value: str) -> None:
        super().__init__(allowance, scope_value)
        self.included = allowance.included
        self.used = _NOTHING_USED

    def enter(self, account: Account, posted_us: int) -> None:
        """Go to the window that holds a posting time."""
        key = self._enter(account, posted_us)
        used = self.counters.pools.get(key)
        if used is None:
            used = self.counters.pools[key] = Used()
        if not used.alert_from:
            used.alert_from = alert_from(self.limits.alerts, self.included, used.balance)
        self.used = used

    def take(self, state: CustomerState, tariff: "Tariff", balance: int, alerts: list[Alert]) -> None:
        """Take balance from the allowance, and add the alerts that this causes (R6.4, R6.10)."""
        used = self.used
        before = used.balance
        after = used.balance = before + balance
        if after >= used.alert_from:
            alerts += self.alerts(state, tariff.period, self.included, before, after)
            used.alert_from = alert_from(self.limits.alerts, self.included, after)
        if not self.counters.changed:
            state.note_window(tariff.account_key, self.window, self.counters)


class BudgetSlot(_Slot):
    """A budget, and what the window at hand has seen of it."""

    __slots__ = ("amount_pico", "blocks", "quantity", "spent")

    def __init__(self, budget: Budget, scope_value: str) -> None:
        super().__init__(budget, scope_value)
        self.blocks = budget.blocks
        self.quantity = budget.quantity
        self.amount_pico = budget.amount_pico or 0
        self.spent = _NOTHING_SPENT

    def enter(self, account: Account, posted_us: int) -> None:
        """Go to the window that holds a posting time."""
        key = self._enter(account, posted_us)
        spent = self.counters.budgets.get(key)
        if spent is None:
            spent = self.counters.budgets[key] = Spent()
        if not spent.alert_from:
            if self.quantity is None:
                spent.alert_from = alert_from(self.limits.alerts, self.amount_pico, spent.charge_pico)
            else:
                spent.alert_from = alert_from(self.limits.alerts, self.quantity, spent.units)
        self.spent = spent

    def grow(self, state: CustomerState, tariff: "Tariff", overage: int, charge_pico: int, alerts: list[Alert]) -> None:
        """Add a line's overage and charge, and the alerts that this causes (R6.8, R6.10)."""
        spent = self.spent
        before = spent.charge_pico if self.quantity is None else spent.units
        spent.units += overage
        spent.charge_pico += charge_pico
        after = spent.charge_pico if self.quantity is None else spent.units
        if after >= spent.alert_from:
            limit = self.amount_pico if self.quantity is None else self.quantity
            alerts += self.alerts(state, tariff.period, limit, before, after)
            spent.alert_from = alert_from(self.limits.alerts, limit, after)
        if not self.counters.changed:
            state.note_window(tariff.account_key, self.window, self.counters)


SlotT = TypeVar("SlotT", PoolSlot, BudgetSlot)


class Tariff:
    """How events of one shape are rated that are posted in [from_us, until_us)."""

    __slots__ = (
        "account",
        "account_key",
        "app",
        "budgets",
        "builder",
        "closes_us",
        "deployment",
        "from_us",
        "limited",
        "model_class",
        "period",
        "plan",
        "plan_id",
        "plan_version",
        "pools",
        "retires_us",
        "terms",
        "until_us",
    )

    def __init__(
        self, terms: Terms, deployment: Deployment, builder: str, subscription: Subscription, period: Period
    ) -> None:
        plan = subscription.plan
        self.terms = terms
        self.deployment = deployment
        self.plan = plan
        self.from_us = max(subscription.start_us, period.start_us)
        self.until_us = period.end_us if subscription.end_us is None else min(subscription.end_us, period.end_us)
        self.closes_us = period.end_us + plan.grace_hours * HOUR_US
        """The watermark at which events of the period are late (R3.2)."""
        self.retires_us = self.closes_us + HORIZON_DAYS * DAY_US
        self.builder = builder
        self.app = deployment.app
        self.plan_id = plan.id
        self.plan_version = plan.version
        self.model_class = terms.model_class
        self.period = period.name
        self.account_key = (plan.id, plan.version, period.name)
        self.account: Account | None = None
        self.limited = terms.policy != "invoice" or any(budget.blocks for budget in terms.budgets)
        """Overage may be blocked (R6.5)."""
        self.pools: list[tuple[PoolSlot, int]] = []
        """Allowances, each with what one unit costs it."""
        self.budgets: list[BudgetSlot] = []

    def bind(self, state: CustomerState, event: UsageEvent) -> Account:
        """Hold on to the account and to the counters of the pools and budgets."""
        account = state.accounts.get(self.account_key)
        if account is None:
            account = state.accounts[self.account_key] = Account(self.retires_us)
            state.note_account(self.account_key, account)
        scope_values = {"customer": "", "deployment": event.source, "workspace": event.workspace}
        self.pools = [
            (self._slot(state.pool_slots, PoolSlot, pool, scope_values[pool.scope]), weight)
            for pool, weight in self.terms.pools
        ]
        self.budgets = [
            self._slot(state.budget_slots, BudgetSlot, budget, scope_values[budget.scope])
            for budget in self.terms.budgets
        ]
        self.account = account
        return account

    def _slot(
        self,
        slots: dict[SlotKey, SlotT],
        make: Callable[[Any, str], SlotT],
        limits: Allowance | Budget,
        scope_value: str,
    ) -> SlotT:
        """Return the slot that all tariffs of an account share."""
        key = (self.account_key, limits.id, scope_value)
        slot = slots.get(key)
        if slot is None:
            slot = slots[key] = make(limits, scope_value)
        return slot


def tariff_at(
    index: TermsIndex,
    state: CustomerState,
    tariffs: dict[Shape, Tariff],
    shape: Shape,
    event: UsageEvent,
    deployment: Deployment,
    at_us: int,
) -> Tariff:
    """Return the tariff of an event that is posted at an instant, and remember it. Raises Rejected (no_subscription)."""
    tariff = tariffs.get(shape)
    if tariff is not None and tariff.from_us <= at_us < tariff.until_us:
        return tariff
    catalog = index.catalog
    subscription = catalog.subscription_at(event.customer, deployment.app, at_us)
    if subscription is None:
        raise Rejected(
            NO_SUBSCRIPTION,
            f"time: customer {event.customer!r} has no subscription to app {deployment.app!r} at {format_instant(at_us)}",
        )
    if len(tariffs) >= _TARIFFS_MAX:
        state.forget_tariffs()
    tariff = tariffs[shape] = Tariff(
        index.of(subscription.plan, event),
        deployment,
        catalog.apps[deployment.app].builder,
        subscription,
        period_at(at_us, subscription.plan.anchor_day),
    )
    return tariff


def kind_of(event: UsageEvent, tariff: Tariff) -> Kind:
    """R6.2: the first that holds, a repeat apart."""
    if event.byok:
        return "byok"
    if not tariff.terms.billable:
        return "non_billable"
    return "failed" if event.failed else "usage"


def shelf_of(scope_value: str) -> int:
    """Return on which of 256 shelves the counters of a deployment or workspace lie.

    A shelf is what is written at once: a sender of ever new workspaces makes many shelves, not one that has no end.
    """
    return crc32(scope_value.encode()) & 0xFF if scope_value else 0

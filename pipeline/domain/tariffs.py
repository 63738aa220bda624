"""What applies to one shape of a customer's events for a stretch of time, worked out once: a tariff.

It says by which plan, period and terms such an event is rated, and holds on to the counters it changes. It is a memory
of look-ups, no state: dropping it changes no result.
"""

from collections.abc import Callable
from typing import TypeVar
from zlib import crc32

import msgspec

from pipeline.domain.alerts import Alert, alert_from, reached
from pipeline.domain.catalog import Allowance, Budget, Deployment, Plan, Subscription
from pipeline.domain.dedupe import HORIZON_DAYS
from pipeline.domain.events import UsageEvent
from pipeline.domain.instants import DAY_US, HOUR_US, format_instant
from pipeline.domain.lines import Kind
from pipeline.domain.periods import Period, period_at
from pipeline.domain.rejects import NO_SUBSCRIPTION, Rejected
from pipeline.domain.state import (
    PERIOD,
    Account,
    AccountKey,
    CounterKey,
    Counters,
    CustomerState,
    SlotKey,
    Spent,
    Used,
    WindowKey,
)
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


class _Slot(msgspec.Struct, eq=False, gc=False):
    """Where a pool or budget counts: the counters of the window that holds the posting time."""

    limits: Allowance | Budget
    scope_value: str
    window: WindowKey
    counters: Counters
    start_us: int
    end_us: int
    """[start, end) of the window; empty at first."""

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
        self.window = (PERIOD if per == "period" else posted_us // DAY_US * DAY_US, self.window[1])
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


class PoolSlot(_Slot, eq=False, gc=False):
    """An allowance, and what the window at hand has used of it."""

    included: int
    used: Used

    @classmethod
    def of(cls, allowance: Allowance, scope_value: str) -> "PoolSlot":
        """Return a slot that is in no window yet."""
        window = (PERIOD, shelf_of(scope_value))
        return cls(allowance, scope_value, window, _NO_COUNTERS, 0, 0, allowance.included, _NOTHING_USED)

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


class BudgetSlot(_Slot, eq=False, gc=False):
    """A budget, and what the window at hand has seen of it."""

    blocks: bool
    quantity: int | None
    amount_pico: int
    spent: Spent

    @classmethod
    def of(cls, budget: Budget, scope_value: str) -> "BudgetSlot":
        """Return a slot that is in no window yet."""
        window = (PERIOD, shelf_of(scope_value))
        limit = (budget.blocks, budget.quantity, budget.amount_pico or 0)
        return cls(budget, scope_value, window, _NO_COUNTERS, 0, 0, *limit, _NOTHING_SPENT)

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
LimitsT = TypeVar("LimitsT", Allowance, Budget)


class Tariff(msgspec.Struct, eq=False, gc=False):
    """How events of one shape are rated that are posted in [from_us, until_us)."""

    terms: Terms
    deployment: Deployment
    plan: Plan
    from_us: int
    until_us: int
    closes_us: int
    """The watermark at which events of the period are late (R3.2)."""
    builder: str
    app: str
    plan_id: str
    plan_version: int
    model_class: str
    period: str
    account_key: AccountKey
    catalog: str
    provider: str
    limited: bool
    """Overage may be blocked (R6.5)."""
    account: Account | None = None
    pools: tuple[tuple[PoolSlot, int], ...] = ()
    """Allowances, each with what one unit costs it."""
    budgets: tuple[BudgetSlot, ...] = ()

    @classmethod
    def of(
        cls,
        terms: Terms,
        deployment: Deployment,
        builder: str,
        subscription: Subscription,
        period: Period,
        catalog: str,
    ) -> "Tariff":
        """Return the tariff of a deployment's events under a subscription in a period, bound to no account yet."""
        plan, end_us = subscription.plan, subscription.end_us
        return cls(
            terms=terms,
            deployment=deployment,
            plan=plan,
            from_us=max(subscription.start_us, period.start_us),
            until_us=period.end_us if end_us is None else min(end_us, period.end_us),
            closes_us=period.end_us + plan.grace_hours * HOUR_US,
            builder=builder,
            app=deployment.app,
            plan_id=plan.id,
            plan_version=plan.version,
            model_class=terms.model_class,
            period=period.name,
            account_key=(plan.id, plan.version, period.name),
            catalog=catalog,
            provider=terms.model.provider if terms.model else "",
            limited=terms.policy != "invoice" or any(budget.blocks for budget in terms.budgets),
        )

    def bind(self, state: CustomerState, event: UsageEvent) -> Account:
        """Hold on to the account and to the counters of the pools and budgets."""
        account = state.accounts.get(self.account_key)
        if account is None:
            account = state.accounts[self.account_key] = Account(self.closes_us + HORIZON_DAYS * DAY_US)
            state.note_account(self.account_key, account)
        scope_values = {"customer": "", "deployment": event.source, "workspace": event.workspace}
        self.pools = tuple(
            [
                (self._slot(state.pool_slots, PoolSlot.of, pool, scope_values[pool.scope]), weight)
                for pool, weight in self.terms.pools
            ]
        )
        self.budgets = tuple(
            [
                self._slot(state.budget_slots, BudgetSlot.of, budget, scope_values[budget.scope])
                for budget in self.terms.budgets
            ]
        )
        self.account = account
        return account

    def _slot(
        self,
        slots: dict[SlotKey, SlotT],
        make: Callable[[LimitsT, str], SlotT],
        limits: LimitsT,
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
    tariff = tariffs[shape] = Tariff.of(
        index.of(subscription.plan, event),
        deployment,
        catalog.apps[deployment.app].builder,
        subscription,
        period_at(at_us, subscription.plan.anchor_day),
        catalog.digest,
    )
    return tariff


def kind_of(event: UsageEvent, tariff: Tariff, account: Account, operation: bytes | None) -> Kind:
    """R6.2: the first that holds."""
    if event.byok:
        return "byok"
    if not tariff.terms.billable:
        return "non_billable"
    if event.failed:
        return "failed"
    return "repeat" if operation is not None and account.operations.find(operation) else "usage"


def shelf_of(scope_value: str) -> int:
    """Return on which of 256 shelves the counters of a deployment or workspace lie.

    A shelf is what is written at once: a sender of ever new workspaces makes many shelves, not one that has no end.
    """
    return crc32(scope_value.encode()) & 0xFF if scope_value else 0

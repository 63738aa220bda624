"""Quota: what a customer may still use, small enough to be sent after every change (R8.3)."""

from collections.abc import Iterable, Sequence

import msgspec

from pipeline.domain.catalog import Catalog, Plan
from pipeline.domain.events import UsageEvent
from pipeline.domain.grants import Grant
from pipeline.domain.instants import DAY_US, HOUR_US, MILLISECOND_US, SECOND_US, day_start_us
from pipeline.domain.periods import period_at
from pipeline.domain.preview import consume, preview
from pipeline.domain.rejects import Rejected
from pipeline.domain.state import (
    PERIOD,
    Account,
    AccountKey,
    Answer,
    Counters,
    CustomerState,
    GrantPool,
    Spent,
    Used,
)
from pipeline.domain.tariffs import shelf_of
from pipeline.domain.terms import TermsIndex

SCHEMA = 1


class Request(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A call that may be made: what its usage event would say, as far as it is known before."""

    deployment: str
    environment: str
    workspace: str
    feature: str
    model: str
    unit: str
    quantity: int = 1
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_pico: int | None = None
    """The caller's own estimate; None = from the tokens, at the model's price (R5.2)."""
    byok: bool = False
    reservation: str | None = None
    """Of this deployment: what it holds does not count against the call that will commit it."""

    def as_event(self, customer: str, at_us: int) -> UsageEvent:
        """Return the usage event that the call would cause at an instant."""
        return UsageEvent(
            id="",
            source=self.deployment,
            customer=customer,
            time_us=at_us,
            environment=self.environment,
            workspace=self.workspace,
            feature=self.feature,
            model=self.model,
            unit=self.unit,
            quantity=self.quantity,
            input_tokens=self.input_tokens,
            cached_input_tokens=self.cached_input_tokens,
            output_tokens=self.output_tokens,
            cost_pico=self.cost_pico,
            byok=self.byok,
        )


class PoolUsed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What an allowance has lost in one window; untouched ones are left out."""

    id: str
    used: int
    scope_value: str = ""
    hour_us: int = -1
    """Start of the window of an allowance per hour."""


class BudgetUsed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a budget has seen in one window; untouched ones are left out."""

    id: str
    units: int
    charge_pico: int
    scope_value: str = ""
    hour_us: int = -1


class WindowUsed(msgspec.Struct, frozen=True, omit_defaults=True):
    """The allowances and budgets of one window."""

    day_us: int = PERIOD
    """Start of the UTC day; -1 for the billing period."""
    pools: list[PoolUsed] = []
    budgets: list[BudgetUsed] = []


class AccountUsed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the customer has used under one plan version in one period that is not over (R4.5)."""

    plan: str
    plan_version: int
    period: str
    windows: list[WindowUsed] = []
    tiers: dict[int, int] = {}
    """Place of a price row in the plan to the overage units that it has priced (R6.7)."""


class GrantLeft(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is left of a grant, and whom it serves (R2.5)."""

    id: str
    balance: int
    priority: int
    effective_us: int
    expires_us: int | None = None
    match: dict[str, list[str]] = {}
    credits: dict[str, int] | None = None


class Held(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reservation in force (R9.2)."""

    id: str
    expires_ms: int
    request: Request


class QuotaRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is needed to answer for any call of a customer, beside the catalog (R8.3). Amounts are picodollars."""

    schema: int
    customer: str
    version: int
    """Grows with every record of the customer that was applied."""
    seq: int
    """Of the customer's last line (R7.2)."""
    watermark_ms: int
    wallet_pico: int
    accounts: list[AccountUsed] = []
    grants: list[GrantLeft] = []
    held: list[Held] = []
    """In the order in which they came."""
    answers: list[Answer] = []
    """What became of the reservations that were asked for since the last record."""
    partial: bool = False
    """More counters than a record holds: those that have used the least are left out."""


CLOCK_US = 10 * 60 * SECOND_US
"""How long windows are kept that are over by the watermark: for gates whose clocks are behind."""
COUNTERS_MAX = 5_000
"""In one record; a customer with more has ever new workspaces or deployments."""


_SHARE = 10**6


def empty_quota(customer: str) -> QuotaRecord:
    """Return the quota record of a customer of whom no record has come yet."""
    return QuotaRecord(SCHEMA, customer, version=0, seq=0, watermark_ms=-1, wallet_pico=0)


def quota_record(state: CustomerState, index: TermsIndex, answers: Sequence[Answer] = ()) -> QuotaRecord:
    """Return the quota record of a customer: the balances of every period and window that is not over."""
    now_us = state.watermark_ms * MILLISECOND_US - CLOCK_US
    accounts = []
    counted = 0
    for key, account in sorted(state.accounts.items()):
        if _is_over(index.catalog, key, now_us):
            continue
        windows = _windows_used(account, now_us)
        counted += sum(len(window.pools) + len(window.budgets) for window in windows)
        accounts.append(AccountUsed(*key, windows, dict(sorted(account.tiers.items()))))
    partial = counted > COUNTERS_MAX
    return QuotaRecord(
        SCHEMA,
        state.customer,
        state.version,
        state.seq,
        state.watermark_ms,
        state.wallet_pico,
        [_most_used(each, index.catalog.plans[each.plan, each.plan_version]) for each in accounts]
        if partial
        else accounts,
        [_grant_left(pool) for pool in state.grants if pool.grant.expires_us is None or now_us < pool.grant.expires_us],
        [_held(key, hold.usage, hold.expires_ms) for key, hold in state.holds.items()] if state.holds else [],
        list(answers),
        partial,
    )


def _is_over(catalog: Catalog, key: AccountKey, now_us: int) -> bool:
    plan = catalog.plans.get(key[:2])
    return plan is None or period_at(day_start_us(key[2]), plan.anchor_day).end_us <= now_us


def _windows_used(account: Account, now_us: int) -> list[WindowUsed]:
    """Return the windows that are not over, in an order that says nothing of how they came about."""
    pools: dict[int, list[PoolUsed]] = {}
    budgets: dict[int, list[BudgetUsed]] = {}
    for (day_us, _), counters in account.windows.items():
        if day_us != PERIOD and day_us + DAY_US <= now_us:
            continue
        for (identity, scope_value, hour_us), used in counters.pools.items():
            if used.balance and (hour_us < 0 or now_us < hour_us + HOUR_US):
                pools.setdefault(day_us, []).append(PoolUsed(identity, used.balance, scope_value, hour_us))
        for (identity, scope_value, hour_us), spent in counters.budgets.items():
            if (spent.units or spent.charge_pico) and (hour_us < 0 or now_us < hour_us + HOUR_US):
                row = BudgetUsed(identity, spent.units, spent.charge_pico, scope_value, hour_us)
                budgets.setdefault(day_us, []).append(row)
    return [
        WindowUsed(day_us, sorted(pools.get(day_us, ()), key=_place), sorted(budgets.get(day_us, ()), key=_place))
        for day_us in sorted(pools.keys() | budgets.keys())
    ]


def _place(row: PoolUsed | BudgetUsed) -> tuple[str, str, int]:
    return row.id, row.scope_value, row.hour_us


def _most_used(account: AccountUsed, plan: Plan) -> AccountUsed:
    """Return an account without the counters that have used the least of their limits: the last to deny anything."""
    included = {each.id: each.included for each in plan.allowances}
    limits = {each.id: each.amount_pico if each.quantity is None else each.quantity for each in plan.budgets}
    by_units = {each.id for each in plan.budgets if each.quantity is not None}

    def pool_share(pool: PoolUsed) -> int:
        return pool.used * _SHARE // (included.get(pool.id) or 1)

    def budget_share(budget: BudgetUsed) -> int:
        used = budget.units if budget.id in by_units else budget.charge_pico
        return used * _SHARE // (limits.get(budget.id) or 1)

    windows = []
    for window in account.windows:
        pools = sorted(window.pools, key=pool_share, reverse=True)[: COUNTERS_MAX // 2]
        budgets = sorted(window.budgets, key=budget_share, reverse=True)[: COUNTERS_MAX // 2]
        windows.append(WindowUsed(window.day_us, pools, budgets))
    return AccountUsed(account.plan, account.plan_version, account.period, windows, account.tiers)


def _grant_left(pool: GrantPool) -> GrantLeft:
    grant = pool.grant
    match = {key: sorted(accepted) for key, accepted in grant.match.items()}
    credits_ = None if grant.credits is None else dict(grant.credits)
    return GrantLeft(grant.id, pool.balance, grant.priority, pool.effective_us, grant.expires_us, match, credits_)


def _held(key: tuple[str, str], usage: UsageEvent, expires_ms: int) -> Held:
    request = Request(
        usage.source,
        usage.environment,
        usage.workspace,
        usage.feature,
        usage.model,
        usage.unit,
        usage.quantity,
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.output_tokens,
        usage.cost_pico,
        usage.byok,
    )
    return Held(key[1], expires_ms, request)


def held_state(
    record: QuotaRecord, index: TermsIndex, at_us: int, live_us: int, without: tuple[str, str] | None = None
) -> CustomerState:
    """Return a scratch state in which every reservation is committed that is live at `live_us`, as if at `at_us` (R9.6).

    `without` is the (source, id) of one that does not count.
    """
    state = _state_of(record)
    live = [
        held.request.as_event(record.customer, at_us)
        for held in record.held
        if held.expires_ms * MILLISECOND_US > live_us and (held.request.deployment, held.id) != without
    ]
    commit_all(index, state, live, at_us)
    return state


def commit_all(index: TermsIndex, scratch: CustomerState, usages: Iterable[UsageEvent], at_us: int) -> None:
    """Let a scratch state lose what reservations hold, one after another, as if they were committed at an instant."""
    for usage in usages:
        try:
            seen = preview(index, scratch, usage, at_us)
        except Rejected:  # its subscription has ended since: it can use nothing any more
            continue
        consume(scratch, seen, at_us)


def _state_of(record: QuotaRecord) -> CustomerState:
    """Return the state that a record tells of, without what decisions do not need."""
    state = CustomerState(record.customer, record.watermark_ms, record.seq, record.wallet_pico)
    for used in record.accounts:
        account = Account(retires_us=0, tiers=dict(used.tiers))
        for window in used.windows:
            _restore_window(account, window)
        state.accounts[used.plan, used.plan_version, used.period] = account
    for left in record.grants:
        match = {key: frozenset(accepted) for key, accepted in left.match.items()}
        grant = Grant(
            left.id,
            record.customer,
            left.balance,
            match,
            left.credits,
            left.priority,
            left.effective_us,
            left.expires_us,
        )
        state.grants.append(GrantPool(grant, left.effective_us, left.balance))
    return state


def _restore_window(account: Account, window: WindowUsed) -> None:
    for pool in window.pools:
        counters = _counters_at(account, window.day_us, pool.scope_value)
        counters.pools[pool.id, pool.scope_value, pool.hour_us] = Used(pool.used)
    for budget in window.budgets:
        counters = _counters_at(account, window.day_us, budget.scope_value)
        counters.budgets[budget.id, budget.scope_value, budget.hour_us] = Spent(budget.units, budget.charge_pico)


def _counters_at(account: Account, day_us: int, scope_value: str) -> Counters:
    return account.windows.setdefault((day_us, shelf_of(scope_value)), Counters())

"""Rating: one event, one customer state, one catalog; in the order of R6."""

from bisect import insort
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline.domain.admission import Envelope, Posting, admit, check_customer, check_key, cost_of, post
from pipeline.domain.alerts import Alert, Growth
from pipeline.domain.budgets import allowed_overage, grow_budget
from pipeline.domain.catalog import Catalog
from pipeline.domain.dedupe import (
    HORIZON_DAYS,
    digest,
    forget_identities,
    identity_of,
    is_duplicate,
    operation_of,
    remember,
)
from pipeline.domain.events import UsageEvent
from pipeline.domain.grants import Grant, TopUp
from pipeline.domain.instants import DAY_US, HOUR_US
from pipeline.domain.lines import Kind, Line, PoolUse
from pipeline.domain.money import divide_half_even
from pipeline.domain.prices import price
from pipeline.domain.prices.cost_plus import percent_of
from pipeline.domain.state import PERIOD, Account, AccountKey, CustomerState, GrantPool, WindowKey
from pipeline.domain.terms import Terms, TermsIndex
from pipeline.domain.waterfall import Cover, Draw, cover, take


@dataclass(frozen=True, slots=True)
class Rated:
    """What rating one accepted event made, and which parts of the state it touched."""

    line: Line
    alerts: Sequence[Alert]
    account: AccountKey
    windows: Collection[WindowKey]
    identity: bytes
    operation: bytes | None


@dataclass(frozen=True, slots=True)
class _Split:
    """How a usage event's quantity divides, and the share numerator / denominator of its cost that is charged."""

    cover: Cover
    overage: int
    blocked: int
    numerator: int
    denominator: int


@dataclass(frozen=True, slots=True)
class _Charge:
    cost_charged_pico: int
    margin_pico: int
    surcharge_pico: int
    counted_units: int

    @property
    def total_pico(self) -> int:
        return self.cost_charged_pico + self.margin_pico + self.surcharge_pico


_NO_SPLIT = _Split(Cover(rest=0), 0, 0, 0, 1)


def rate_event(
    catalog: Catalog, terms_index: TermsIndex, state: CustomerState, event: UsageEvent, envelope: Envelope
) -> Rated | None:
    """Rate an event and change its customer's state; return None for a duplicate.

    Raises Rejected, and then has changed nothing (R2.3).
    """
    deployment = admit(catalog, event, envelope)
    watermark_ms = max(state.watermark_ms, envelope.timestamp_ms)
    identity, content = identity_of(event), digest(event.content())
    if is_duplicate(state, identity, content, watermark_ms):
        _advance(state, watermark_ms)
        return None
    posting = post(catalog, event, deployment.app, envelope.timestamp_ms, watermark_ms)
    cost_pico = cost_of(catalog, event)

    _advance(state, watermark_ms)
    remember(state, identity, watermark_ms, content)
    account_key = (posting.plan.id, posting.plan.version, posting.period.name)
    account = _account(state, account_key, posting)
    terms = terms_index.of(posting.plan, event)
    operation = None if event.operation is None else operation_of(event)
    kind = _kind(event, terms, account, operation)
    state.seq += 1
    if kind == "usage":
        split = _split(state, account, terms, event, posting.at_us)
        charge = _charge_usage(account, terms, cost_pico, split)
        growth = _apply(state, account, terms, split, charge, posting)
        if operation is not None and event.quantity >= 1:
            account.operations.add(operation)
        else:
            operation = None
    else:
        split, growth, operation = _NO_SPLIT, None, None
        charge = _charge_without_pools(posting, kind, cost_pico)
    line = Line(
        customer=event.customer,
        seq=state.seq,
        event=event,
        posted_us=posting.at_us,
        period=posting.period.name,
        late=posting.late,
        builder=catalog.apps[deployment.app].builder,
        app=deployment.app,
        plan=posting.plan.id,
        plan_version=posting.plan.version,
        model_class=terms.model_class,
        kind=kind,
        included=split.cover.included,
        granted=split.cover.granted,
        overage=split.overage,
        blocked=split.blocked,
        cost_pico=cost_pico,
        cost_charged_pico=charge.cost_charged_pico,
        margin_pico=charge.margin_pico,
        surcharge_pico=charge.surcharge_pico,
        pools=tuple(_pool_use(draw) for draw in split.cover.draws),
    )
    alerts, windows = (growth.alerts, growth.windows) if growth else ((), ())
    return Rated(line, alerts, account_key, windows, identity, operation)


def apply_grant(catalog: Catalog, state: CustomerState, grant: TopUp | Grant, envelope: Envelope) -> bool:
    """Add a top-up or grant to a customer's state; return False for a repeated id, which is ignored (R2.5).

    Raises Rejected (wrong_key, unknown_customer), and then has changed nothing.
    """
    check_key(grant.customer, envelope, "customer")
    check_customer(catalog, grant.customer, "customer")
    if grant.id in state.grant_ids:
        return False
    _advance(state, max(state.watermark_ms, envelope.timestamp_ms))
    state.grant_ids.add(grant.id)
    if isinstance(grant, TopUp):
        state.wallet_pico += grant.amount_pico
    elif grant.quantity:
        effective_us = envelope.timestamp_ms * 1000 if grant.effective_us is None else grant.effective_us
        insort(state.grants, GrantPool(grant, effective_us, grant.quantity), key=lambda pool: pool.grant.order)
    return True


def _advance(state: CustomerState, watermark_ms: int) -> None:
    """Move the watermark; when it enters another UTC day, forget what no event can need any more."""
    day_before = state.watermark_ms * 1000 // DAY_US
    state.watermark_ms = watermark_ms
    if watermark_ms * 1000 // DAY_US == day_before:
        return
    forget_identities(state)
    for account in state.accounts.values():
        if account.retires_us <= watermark_ms * 1000:
            account.windows = {key: each for key, each in account.windows.items() if key[0] == PERIOD}
            account.operations.clear()


def _account(state: CustomerState, key: AccountKey, posting: Posting) -> Account:
    account = state.accounts.get(key)
    if account is None:
        retires_us = posting.period.end_us + posting.plan.grace_hours * HOUR_US + HORIZON_DAYS * DAY_US
        account = state.accounts[key] = Account(retires_us)
    return account


def _kind(event: UsageEvent, terms: Terms, account: Account, operation: bytes | None) -> Kind:
    """R6.2: the first that holds."""
    if event.byok:
        return "byok"
    if not terms.billable:
        return "non_billable"
    if event.failed:
        return "failed"
    if operation is not None and operation in account.operations:
        return "repeat"
    return "usage"


def _split(state: CustomerState, account: Account, terms: Terms, event: UsageEvent, posted_us: int) -> _Split:
    """R6.4 to R6.6."""
    covered = cover(state, account, terms, event.unit, event.quantity, posted_us)
    if event.quantity == 0:
        numerator = 0
        if not covered.coverable:
            numerator = allowed_overage(account, terms, state.wallet_pico, 1, posted_us)
        return _Split(covered, 0, 0, numerator, 1)
    overage = 0
    if covered.rest:
        overage = allowed_overage(account, terms, state.wallet_pico, covered.rest, posted_us)
    return _Split(covered, overage, covered.rest - overage, overage, event.quantity)


def _charge_usage(account: Account, terms: Terms, cost_pico: int, split: _Split) -> _Charge:
    """R6.7."""
    cost_charged_pico = divide_half_even(cost_pico * split.numerator, split.denominator)
    units_before = account.tiers.get(terms.price_index, 0)
    priced = price(terms.price, cost_charged_pico, split.overage, units_before)
    surcharge_pico = 0
    for surcharge in terms.surcharges:
        surcharge_pico += surcharge.per_unit_pico * split.overage
        surcharge_pico += percent_of(surcharge.percent_of_cost_pico, cost_charged_pico)
    return _Charge(cost_charged_pico, priced.margin_pico, surcharge_pico, priced.counted_units)


def _charge_without_pools(posting: Posting, kind: Kind, cost_pico: int) -> _Charge:
    """R6.3: failed calls and repeats cost nothing, or their cost, as the plan says; byok and non-billable nothing."""
    policy = {"failed": posting.plan.failed, "repeat": posting.plan.repeats}.get(kind, "free")
    return _Charge(cost_pico if policy == "cost" else 0, 0, 0, 0)


def _apply(
    state: CustomerState, account: Account, terms: Terms, split: _Split, charge: _Charge, posting: Posting
) -> Growth:
    """Take what the waterfall covers, and grow tiers, wallet and budgets (R6.4, R6.8, R6.10)."""
    growth = Growth(state.customer, posting.period.name, state.seq)
    take(state, account, split.cover, posting.at_us, growth)
    if terms.policy == "prepaid":
        state.wallet_pico -= charge.total_pico
    if charge.counted_units:
        account.tiers[terms.price_index] = account.tiers.get(terms.price_index, 0) + charge.counted_units
    if split.overage or charge.total_pico:
        for budget in terms.budgets:
            grow_budget(account, budget, posting.at_us, split.overage, charge.total_pico, growth)
    return growth


def _pool_use(draw: Draw) -> PoolUse:
    if draw.grant is not None:
        return PoolUse(draw.grant.grant.id, "", draw.units)
    assert draw.pool is not None
    return PoolUse(draw.pool.allowance.id, draw.pool.scope_value, draw.units)

"""Rating: one event, one customer state, one catalog; in the order of R6."""

from bisect import insort
from collections.abc import Sequence

import msgspec

from pipeline.domain.admission import FUTURE_MAX_US, Envelope, admit, check_customer, check_key, cost_of
from pipeline.domain.alerts import Alert
from pipeline.domain.catalog import Catalog
from pipeline.domain.dedupe import content_of, identity_of, is_duplicate, operation_of, remember
from pipeline.domain.events import UsageEvent
from pipeline.domain.grants import Grant, TopUp
from pipeline.domain.holds import settle_holds
from pipeline.domain.instants import format_instant
from pipeline.domain.lines import Kind, Line, PoolUse
from pipeline.domain.overage import NOTHING, Paid, charged, grow
from pipeline.domain.state import CustomerState, GrantPool
from pipeline.domain.tariffs import Tariff, kind_of, tariff_at
from pipeline.domain.terms import TermsIndex
from pipeline.domain.waterfall import cover, take
from pipeline.domain.watermark import advance, late_posting_us

Rated = tuple[Line, Sequence[Alert]]
"""What an accepted event makes (R7.1, R6.10)."""


class _Split(msgspec.Struct, gc=False):
    """What of a usage event is not paid: covered by pools, or blocked; units."""

    included: int
    granted: int
    blocked: int
    pools: Sequence[PoolUse]


def rate_event(index: TermsIndex, state: CustomerState, event: UsageEvent, envelope: Envelope) -> Rated | None:  # noqa: C901, PLR0912 - in the order of R6
    """Rate an event and change its customer's state; return None for a duplicate.

    Raises Rejected, and then has changed nothing (R2.3).
    """
    shape = (event.source, event.environment, event.workspace, event.feature, event.model, event.unit)
    tariff = state.tariffs.get(shape)
    if (
        tariff is None
        or event.customer != envelope.key
        or event.time_us > envelope.timestamp_ms * 1000 + FUTURE_MAX_US
        or tariff.deployment.air_gapped
    ):
        deployment = admit(index.catalog, event, envelope)
    else:
        deployment = tariff.deployment  # admitted before, when the tariff was worked out
    watermark_ms = max(state.watermark_ms, envelope.timestamp_ms)
    identity, content = identity_of(event), content_of(event)
    known = state.identities.find(identity)
    if known is not None and is_duplicate(known, content, watermark_ms):
        advance(state, watermark_ms)
        return None
    posted_us = event.time_us
    if tariff is None or not tariff.from_us <= posted_us < tariff.until_us:
        tariff = tariff_at(index, state, state.tariffs, shape, event, deployment, posted_us)
    late = tariff.closes_us <= watermark_ms * 1000
    if late:
        posted_us = late_posting_us(state, tariff.app, envelope.timestamp_ms, watermark_ms)
        tariff = tariff_at(index, state, state.late_tariffs, shape, event, deployment, posted_us)
    cost_pico = cost_of(event, tariff.terms.model)

    if watermark_ms != state.watermark_ms and advance(state, watermark_ms):
        tariff.account = None  # what it holds on to may be forgotten
    remember(state, identity, content)
    if state.holds:
        settle_holds(state, event)
    state.seq += 1
    account = tariff.account or tariff.bind(state, event)
    operation = None if event.operation is None else operation_of(event)
    kind = kind_of(event, tariff, account, operation)
    alerts: list[Alert] = []
    pools: Sequence[PoolUse] = ()
    included = granted = blocked = 0
    paid = NOTHING
    if kind == "usage":
        covered = cover(state, account, tariff, event, posted_us)
        if covered.rest != event.quantity:
            included, granted = covered.included, covered.granted
            pools = take(state, tariff, covered, alerts)
        if covered.rest or (event.quantity == 0 and not covered.coverable):
            paid = charged(account, tariff, event, covered.rest, cost_pico, posted_us, state.wallet_pico)
            if paid is not NOTHING:
                grow(state, account, tariff, paid, posted_us, alerts)
            blocked = covered.rest - paid.overage
        if operation is not None and event.quantity:
            account.operations.add(operation)
    elif _costs(tariff, kind):
        paid = Paid(0, cost_pico)
    split = _Split(included, granted, blocked, pools)
    return _line(state, event, envelope, tariff, kind, cost_pico, split, paid, posted_us if late else None), alerts


def _line(
    state: CustomerState,
    event: UsageEvent,
    envelope: Envelope,
    tariff: Tariff,
    kind: Kind,
    cost_pico: int,
    split: _Split,
    paid: Paid,
    late_us: int | None,
) -> Line:
    """Return the line of an event; `late_us` is when it is posted if that is not its own time (R7.1)."""
    total_pico = paid.cost_charged_pico + paid.margin_pico + paid.surcharge_pico
    time = format_instant(event.time_us)
    return Line(
        state.customer,
        state.seq,
        event.id,
        event.source,
        time,
        time if late_us is None else format_instant(late_us),
        tariff.period,
        late_us is not None,
        tariff.builder,
        tariff.app,
        tariff.plan_id,
        tariff.plan_version,
        event.source,
        event.environment,
        event.workspace,
        event.feature,
        event.model,
        tariff.model_class,
        event.request_type,
        event.unit,
        kind,
        event.quantity,
        split.included,
        split.granted,
        paid.overage,
        split.blocked,
        event.input_tokens,
        event.cached_input_tokens,
        event.output_tokens,
        cost_pico,
        paid.cost_charged_pico,
        paid.margin_pico,
        paid.surcharge_pico,
        total_pico,
        split.pools,
        paid.cost_charged_pico,
        paid.margin_pico + paid.surcharge_pico,
        envelope.version,
        tariff.catalog,
        tariff.provider,
    )


def apply_grant(catalog: Catalog, state: CustomerState, grant: TopUp | Grant, envelope: Envelope) -> bool:
    """Add a top-up or grant to a customer's state; return False for a repeated id, which is ignored (R2.5).

    Raises Rejected (wrong_key, unknown_customer), and then has changed nothing.
    """
    check_key(grant.customer, envelope, "customer")
    check_customer(catalog, grant.customer, "customer")
    if grant.id in state.grant_ids:
        return False
    advance(state, max(state.watermark_ms, envelope.timestamp_ms))
    state.grant_ids.add(grant.id)
    state.quota_changed = True
    if isinstance(grant, TopUp):
        state.wallet_pico += grant.amount_pico
    elif grant.quantity:
        effective_us = envelope.timestamp_ms * 1000 if grant.effective_us is None else grant.effective_us
        insort(state.grants, GrantPool(grant, effective_us, grant.quantity), key=lambda pool: pool.grant.order)
    return True


def _costs(tariff: Tariff, kind: Kind) -> bool:
    """R6.3: failed calls and repeats cost nothing, or their cost, as the plan says; byok and non-billable nothing."""
    return (kind == "failed" and tariff.plan.failed == "cost") or (kind == "repeat" and tariff.plan.repeats == "cost")

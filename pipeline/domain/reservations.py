"""Reservations: decided in the log, in the order of the log, by the rules that rate (R9)."""

from pipeline.domain.admission import Envelope, admit, cost_of
from pipeline.domain.budgets import refusal_of
from pipeline.domain.catalog import Deployment
from pipeline.domain.dedupe import content_of, identity_of, is_duplicate, remember
from pipeline.domain.events import Release, Reserve
from pipeline.domain.holds import HOLDS_MAX, drop_expired, settle_holds
from pipeline.domain.instants import MILLISECOND_US, SECOND_MS
from pipeline.domain.preview import preview
from pipeline.domain.quota import commit_all
from pipeline.domain.scratch import scratch_of
from pipeline.domain.state import Answer, CustomerState, Hold
from pipeline.domain.tariffs import tariff_at
from pipeline.domain.terms import TermsIndex
from pipeline.domain.watermark import advance, late_posting_us

EXPIRED = "expired"
TOO_MANY = "too_many_reservations"


def apply_reservation(index: TermsIndex, state: CustomerState, event: Reserve | Release, envelope: Envelope) -> bool:
    """Hold what a reservation asks for, or end one; return False for a duplicate.

    Makes no line (R9.2). Raises Rejected as for a usage event, and then has changed nothing (R2.3).
    """
    deployment = admit(index.catalog, event, envelope)
    watermark_ms = max(state.watermark_ms, envelope.timestamp_ms)
    identity, content = identity_of(event), content_of(event)
    known = state.identities.find(identity)
    if known is not None and is_duplicate(known, content, watermark_ms):
        advance(state, watermark_ms)
        return False
    refused = None
    if isinstance(event, Reserve):
        posted_us = _posted_us(index, state, event, deployment, envelope, watermark_ms)
        refused = _refusal(index, state, event, envelope, watermark_ms, posted_us)
    advance(state, watermark_ms)
    remember(state, identity, content)
    if isinstance(event, Release):
        settle_holds(state, event)
        return True
    drop_expired(state)
    if refused is None:
        state.holds[event.source, event.id] = Hold(event.usage, _expires_ms(event, envelope))
    state.answers.append(Answer(event.source, event.id, refused))
    state.quota_changed = True
    return True


def _expires_ms(event: Reserve, envelope: Envelope) -> int:
    return envelope.timestamp_ms + event.ttl_s * SECOND_MS


def _posted_us(
    index: TermsIndex,
    state: CustomerState,
    event: Reserve,
    deployment: Deployment,
    envelope: Envelope,
    watermark_ms: int,
) -> int:
    """Return when a reservation is posted, like a usage event (R3.2). Raises Rejected (no_subscription, unknown_price)."""
    usage, posted_us = event.usage, event.time_us
    shape = (usage.source, usage.environment, usage.workspace, usage.feature, usage.model, usage.unit)
    tariff = tariff_at(index, state, state.tariffs, shape, usage, deployment, posted_us)
    if tariff.closes_us <= watermark_ms * MILLISECOND_US:
        posted_us = late_posting_us(state, tariff.app, envelope.timestamp_ms, watermark_ms)
        tariff = tariff_at(index, state, state.late_tariffs, shape, usage, deployment, posted_us)
    cost_of(usage, tariff.terms.model)
    return posted_us


def _refusal(
    index: TermsIndex, state: CustomerState, event: Reserve, envelope: Envelope, watermark_ms: int, posted_us: int
) -> str | None:
    """Return why a reservation is refused, None when it is held (R9.2)."""
    if _expires_ms(event, envelope) <= watermark_ms:
        return EXPIRED
    live = [hold.usage for hold in state.holds.values() if hold.expires_ms > watermark_ms]
    if len(live) >= HOLDS_MAX:
        return TOO_MANY
    scratch = scratch_of(state)
    commit_all(index, scratch, live, posted_us)
    seen = preview(index, scratch, event.usage, posted_us)
    return refusal_of(seen.tariff, scratch.wallet_pico, seen.left_over)[0] if seen.refused else None

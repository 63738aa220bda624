"""Reservations: decided in the log, in the order of the log, by the rules that rate (R9)."""

from pipeline.domain.admission import Envelope, admit
from pipeline.domain.budgets import refusal_of
from pipeline.domain.dedupe import content_of, identity_of, is_duplicate, remember
from pipeline.domain.events import Release, Reserve
from pipeline.domain.holds import HOLDS_MAX, drop_expired, settle_holds
from pipeline.domain.instants import MILLISECOND_US, SECOND_MS
from pipeline.domain.preview import preview
from pipeline.domain.quota import held_state, quota_record
from pipeline.domain.state import Answer, CustomerState, Hold
from pipeline.domain.terms import TermsIndex
from pipeline.domain.watermark import advance

EXPIRED = "expired"
TOO_MANY = "too_many_reservations"


def apply_reservation(index: TermsIndex, state: CustomerState, event: Reserve | Release, envelope: Envelope) -> bool:
    """Hold what a reservation asks for, or end one; return False for a duplicate.

    Makes no line (R9.2). Raises Rejected as for a usage event, and then has changed nothing (R2.3).
    """
    admit(index.catalog, event, envelope)
    watermark_ms = max(state.watermark_ms, envelope.timestamp_ms)
    identity, content = identity_of(event), content_of(event)
    known = state.identities.find(identity)
    if known is not None and is_duplicate(known, content, watermark_ms):
        advance(state, watermark_ms)
        return False
    refused = _refusal(index, state, event, envelope, watermark_ms) if isinstance(event, Reserve) else None
    if advance(state, watermark_ms):
        state.forget_tariffs()
    remember(state, identity, content)
    if isinstance(event, Release):
        settle_holds(state, event)
        return True
    drop_expired(state)
    if refused is None:
        expires_ms = envelope.timestamp_ms + event.ttl_s * SECOND_MS
        state.holds[event.source, event.id] = Hold(event.usage, expires_ms)
    state.answers.append(Answer(event.source, event.id, refused))
    state.quota_changed = True
    return True


def _refusal(
    index: TermsIndex, state: CustomerState, event: Reserve, envelope: Envelope, watermark_ms: int
) -> str | None:
    """Return why a reservation is refused, None when it is held (R9.2). Raises Rejected."""
    watermark_us = watermark_ms * MILLISECOND_US
    record = quota_record(state, index)
    scratch = held_state(record, index, event.time_us, watermark_us)
    seen = preview(index, scratch, event.usage, event.time_us)
    if seen.tariff.closes_us <= watermark_us:  # late (R3.2)
        posted_us = envelope.timestamp_ms * MILLISECOND_US
        scratch = held_state(record, index, posted_us, watermark_us)
        seen = preview(index, scratch, event.usage, posted_us)
    if envelope.timestamp_ms + event.ttl_s * SECOND_MS <= watermark_ms:
        return EXPIRED
    if sum(hold.expires_ms > watermark_ms for hold in state.holds.values()) >= HOLDS_MAX:
        return TOO_MANY
    return refusal_of(seen.tariff, scratch.wallet_pico, seen.left_over)[0] if seen.refused else None

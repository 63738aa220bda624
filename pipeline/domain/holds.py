"""Reservations in force: how they end (R9.3 to R9.5)."""

from pipeline.domain.events import CommittingEvent, Release, UsageEvent
from pipeline.domain.state import CustomerState

HOLDS_MAX = 256
"""Of one customer: each is looked at in every decision, and stands in every quota record (R9.2)."""


def settle_holds(state: CustomerState, event: UsageEvent | Release) -> None:
    """Drop the reservations that are expired by the watermark, and the one that an accepted event commits or releases."""
    if isinstance(event, CommittingEvent | Release) and (event.source, event.reservation) in state.holds:
        del state.holds[event.source, event.reservation]
        state.quota_changed = True
    drop_expired(state)


def drop_expired(state: CustomerState) -> None:
    """Drop the reservations that are expired by the watermark (R9.3)."""
    expired = [key for key, hold in state.holds.items() if hold.expires_ms <= state.watermark_ms]
    for key in expired:
        del state.holds[key]
        state.quota_changed = True

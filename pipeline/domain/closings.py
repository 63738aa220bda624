"""Closing a period: from then on its statement is the same for ever (R10)."""

from typing import Any

import msgspec

from pipeline.domain.admission import Envelope, check_customer, check_key
from pipeline.domain.catalog import Catalog
from pipeline.domain.events import json_type, required_string
from pipeline.domain.instants import HOUR_US, day_start_us, format_instant
from pipeline.domain.periods import Period, period_at
from pipeline.domain.rejects import INVALID_FIELD, MALFORMED, NO_SUBSCRIPTION, Rejected
from pipeline.domain.state import CustomerState
from pipeline.domain.watermark import advance

CLOSE = "close"
"""The type of a close record in billing.grants (R10.1)."""


class Close(msgspec.Struct, frozen=True):
    """The wish to close the statement of (customer, app, period)."""

    id: str
    customer: str
    app: str
    period: str


class Closing(msgspec.Struct, frozen=True):
    """A statement is frozen: it is the lines of (customer, app, period) up to `cut_off` (R10.3)."""

    id: str
    customer: str
    app: str
    period: str
    cut_off: int
    """The customer's last line then (R7.2)."""
    closed_at: str
    """The record's timestamp, RFC 3339 in UTC."""
    catalog: str
    """Digest of the catalog version in force (R10.4)."""


def parse_close(value: object) -> Close:
    """Return what a decoded close record asks for. Raises Rejected: malformed or invalid_field (R10.1)."""
    if not isinstance(value, dict):
        raise Rejected(MALFORMED, f"a close record is a JSON object, not {json_type(value)}")
    names: dict[str, Any] = {name: required_string(value, name) for name in ("id", "customer", "app", "period")}
    if not _is_day(names["period"]):
        raise Rejected(INVALID_FIELD, "period: must be the period's first day, such as 2026-11-01")
    return Close(**names)


def _is_day(text: str) -> bool:
    try:
        day_start_us(text)
    except ValueError:
        return False
    return len(text) == len("2026-11-01")


def closes_at_us(catalog: Catalog, customer: str, app: str, period: str) -> int | None:
    """Return when a period may be closed: its end and the longest grace of the plans in force in it (R10.2).

    None when the customer has no subscription to the app with a period of that name.
    """
    day_us = day_start_us(period)
    graces: list[tuple[Period, int]] = []
    for subscription in catalog.subscriptions.get((customer, app), ()):
        found = period_at(day_us, subscription.plan.anchor_day)
        begins_in_time = subscription.start_us < found.end_us
        ends_in_time = subscription.end_us is not None and subscription.end_us <= found.start_us
        if found.name == period and begins_in_time and not ends_in_time:
            graces.append((found, subscription.plan.grace_hours))
    return max((found.end_us + grace_hours * HOUR_US for found, grace_hours in graces), default=None)


def apply_close(catalog: Catalog, state: CustomerState, close: Close, envelope: Envelope) -> Closing | None:
    """Close a statement; return None for a repeated id, which is ignored (R10.1).

    What comes later with a time in the period is late: the watermark has passed the period's grace (R3.2). `closed_us` keeps
    what comes with an old record timestamp out of it. Raises Rejected, and then has changed nothing: wrong_key, unknown_customer, no_subscription, invalid_field.
    """
    check_key(close.customer, envelope, "customer")
    check_customer(catalog, close.customer, "customer")
    if close.id in state.grant_ids:
        return None
    closes_us = closes_at_us(catalog, close.customer, close.app, close.period)
    if closes_us is None:
        raise Rejected(
            NO_SUBSCRIPTION,
            f"period: customer {close.customer!r} has no subscription to app {close.app!r} with a period {close.period}",
        )
    watermark_ms = max(state.watermark_ms, envelope.timestamp_ms)
    if watermark_ms * 1000 < closes_us:
        raise Rejected(INVALID_FIELD, f"period: {close.period} may be closed from {format_instant(closes_us)} on")
    advance(state, watermark_ms)
    state.grant_ids.add(close.id)
    end_us = period_at(day_start_us(close.period), int(close.period[-2:])).end_us
    state.closed_us[close.app] = max(end_us, state.closed_us.get(close.app, end_us))
    return Closing(
        close.id,
        close.customer,
        close.app,
        close.period,
        state.seq,
        format_instant(envelope.timestamp_ms * 1000),
        catalog.digest,
    )

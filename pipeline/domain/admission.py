"""Whether an event may be rated at all, and when and under which plan it is posted (R2.3, R3.2)."""

from dataclasses import dataclass

from pipeline.domain.catalog import Catalog, Deployment, Plan
from pipeline.domain.events import UsageEvent
from pipeline.domain.instants import HOUR_US, SECOND_US, format_instant
from pipeline.domain.periods import Period, period_at
from pipeline.domain.rejects import (
    AIR_GAPPED,
    NO_SUBSCRIPTION,
    TIME_IN_FUTURE,
    UNKNOWN_CUSTOMER,
    UNKNOWN_DEPLOYMENT,
    UNKNOWN_PRICE,
    WRONG_CUSTOMER,
    WRONG_KEY,
    Rejected,
)

FUTURE_MAX_US = 5 * 60 * SECOND_US


@dataclass(frozen=True, slots=True)
class Envelope:
    """What an event's record says about it: key (None when it is no text), timestamp, and whether it is an import."""

    key: str | None
    timestamp_ms: int
    offline_import: bool = False


@dataclass(frozen=True, slots=True)
class Posting:
    """When an event is posted, under which plan and in which period; late when not at its own time (R3.2)."""

    at_us: int
    plan: Plan
    period: Period
    late: bool


def admit(catalog: Catalog, event: UsageEvent, envelope: Envelope) -> Deployment:
    """Return the deployment of an event, or raise Rejected: wrong_key to air_gapped, in the order of R2.3."""
    check_key(event.customer, envelope, "subject")
    if event.time_us > envelope.timestamp_ms * 1000 + FUTURE_MAX_US:
        raise Rejected(
            TIME_IN_FUTURE,
            f"time: {format_instant(event.time_us)} is more than 5 minutes after the record's timestamp",
        )
    check_customer(catalog, event.customer, "subject")
    deployment = catalog.deployments.get(event.source)
    if deployment is None:
        raise Rejected(UNKNOWN_DEPLOYMENT, f"source: deployment {event.source!r} is not in the catalog")
    if deployment.customer != event.customer:
        raise Rejected(WRONG_CUSTOMER, f"source: deployment {event.source!r} does not belong to {event.customer!r}")
    if deployment.air_gapped and not envelope.offline_import:
        raise Rejected(AIR_GAPPED, f"source: deployment {event.source!r} is air-gapped; use the import command")
    return deployment


def check_key(customer: str, envelope: Envelope, name: str) -> None:
    """Reject when a record's key is not its customer (R2.3)."""
    if envelope.key != customer:
        raise Rejected(WRONG_KEY, f"{name}: {customer!r} is not the record's key")


def check_customer(catalog: Catalog, customer: str, name: str) -> None:
    """Reject a customer that is not in the catalog (R2.3)."""
    if customer not in catalog.customers:
        raise Rejected(UNKNOWN_CUSTOMER, f"{name}: customer {customer!r} is not in the catalog")


def post(catalog: Catalog, event: UsageEvent, app: str, timestamp_ms: int, watermark_ms: int) -> Posting:
    """Return the posting of an event. Raises Rejected (no_subscription).

    An event is late when its own period has ended, grace included, at the customer's watermark; it is then posted at
    the record's timestamp, under the plan of that time (R3.2).
    """
    plan, period = _plan_and_period(catalog, event.customer, app, event.time_us)
    if period.end_us + plan.grace_hours * HOUR_US > watermark_ms * 1000:
        return Posting(event.time_us, plan, period, late=False)
    posted_us = timestamp_ms * 1000
    plan, period = _plan_and_period(catalog, event.customer, app, posted_us)
    return Posting(posted_us, plan, period, late=True)


def _plan_and_period(catalog: Catalog, customer: str, app: str, instant_us: int) -> tuple[Plan, Period]:
    plan = catalog.plan_at(customer, app, instant_us)
    if plan is None:
        raise Rejected(
            NO_SUBSCRIPTION,
            f"time: customer {customer!r} has no subscription to app {app!r} at {format_instant(instant_us)}",
        )
    return plan, period_at(instant_us, plan.anchor_day)


def cost_of(catalog: Catalog, event: UsageEvent) -> int:
    """Return an event's cost in picodollars (R5.2). Raises Rejected (unknown_price)."""
    if event.byok:
        return 0
    if event.cost_pico is not None:
        return event.cost_pico
    model = catalog.models.get(event.model)
    if model is None:
        raise Rejected(UNKNOWN_PRICE, f"data.model: {event.model!r} is not in the catalog, and data.cost is absent")
    return (
        event.input_tokens * model.input_pico
        + event.cached_input_tokens * model.cached_input_pico
        + event.output_tokens * model.output_pico
    )

"""Whether an event may be rated at all (R2.3)."""

import msgspec

from pipeline.domain.catalog import Catalog, Deployment, Model
from pipeline.domain.events import Event, UsageEvent
from pipeline.domain.instants import SECOND_US, format_instant
from pipeline.domain.rejects import (
    AIR_GAPPED,
    TIME_IN_FUTURE,
    UNKNOWN_CUSTOMER,
    UNKNOWN_DEPLOYMENT,
    UNKNOWN_PRICE,
    WRONG_CUSTOMER,
    WRONG_KEY,
    Rejected,
)

FUTURE_MAX_US = 5 * 60 * SECOND_US
"""How far an event's time may lie behind its record's timestamp (R2.4)."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What an event's record says about it."""

    key: str | None
    """None when it is no text."""
    timestamp_ms: int
    offline_import: bool = False
    version: int = 0
    """Of the lines that it makes: grows from record to record of a customer (DESIGN 4.7)."""


def admit(catalog: Catalog, event: Event, envelope: Envelope) -> Deployment:
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


def cost_of(event: UsageEvent, model: Model | None) -> int:
    """Return an event's cost in picodollars (R5.2). Raises Rejected (unknown_price)."""
    if event.byok:
        return 0
    if event.cost_pico is not None:
        return event.cost_pico
    if model is None:
        raise Rejected(UNKNOWN_PRICE, f"data.model: {event.model!r} is not in the catalog, and data.cost is absent")
    return (
        event.input_tokens * model.input_pico
        + event.cached_input_tokens * model.cached_input_pico
        + event.output_tokens * model.output_pico
    )

"""The work that every peer written in Python does for an event that is no duplicate. Standard library only."""

from typing import Any, TypedDict

INCLUDED = 100
"""Units a customer and calendar month."""
PRICE_PICO = 20_000_000_000
"""Picodollars a unit beyond them: 0.02."""


class Usage(TypedDict):
    """What a customer used of the allowance of one month, such as `2026-01`."""

    month: str
    used: int


class Rated(TypedDict):
    """The record that comes out for an event."""

    customer: str
    id: str
    source: str
    time: str
    month: str
    feature: str
    unit: str
    quantity: int
    included: int
    overage: int
    charge_pico: int


def rate(usage: Usage | None, event: dict[str, Any]) -> tuple[Usage, Rated]:
    """Split the quantity into what the allowance covers and overage, and price the overage."""
    data = event["data"]
    month = event["time"][:7]
    used = usage["used"] if usage is not None and usage["month"] == month else 0
    quantity = data["quantity"]
    included = min(quantity, INCLUDED - used)
    overage = quantity - included
    rated = Rated(
        customer=event["subject"],
        id=event["id"],
        source=event["source"],
        time=event["time"],
        month=month,
        feature=data["feature"],
        unit=data["unit"],
        quantity=quantity,
        included=included,
        overage=overage,
        charge_pico=overage * PRICE_PICO,
    )
    return Usage(month=month, used=used + included), rated

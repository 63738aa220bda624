"""Graduated price per unit: each unit at the price of the tier that it falls into (R6.7)."""

from collections.abc import Sequence

from pipeline.domain.catalog import Tier


def graduated_price(tiers: Sequence[Tier], units_before: int, units: int) -> int:
    """Return the price in picodollars of the units that follow the first `units_before`. The last tier has no end."""
    if tiers[0].up_to is None:
        return units * tiers[0].price_pico
    total_pico = 0
    position, rest = units_before, units
    for tier in tiers:
        if rest == 0:
            break
        room = rest if tier.up_to is None else min(rest, max(0, tier.up_to - position))
        total_pico += room * tier.price_pico
        position += room
        rest -= room
    return total_pico

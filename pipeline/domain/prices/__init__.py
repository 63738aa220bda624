"""Price models: one file each. A new one is a file here, its row in `PriceRow`, and a line in `price`."""

from dataclasses import dataclass

from pipeline.domain.catalog import PriceRow
from pipeline.domain.prices.cost_plus import cost_plus_margin
from pipeline.domain.prices.graduated import graduated_price


@dataclass(frozen=True, slots=True)
class Priced:
    """The margin of a price row, which may be negative, and the units that it counts in its tiers."""

    margin_pico: int
    counted_units: int


def price(row: PriceRow, cost_charged_pico: int, overage: int, units_before: int) -> Priced:
    """Return what a price row adds to the cost charged for `overage` units (R6.7).

    `units_before` are the overage units that this row has priced so far for the customer in the period.
    """
    if row.tiers:
        base_pico = graduated_price(row.tiers, units_before, overage)
        return Priced(base_pico - cost_charged_pico, overage)
    return Priced(cost_plus_margin(row.margin_percent_pico, cost_charged_pico), 0)

"""Price models: one file each. A new one is a file here, its row in `PriceRow`, and a line in `price`."""

from pipeline.domain.catalog import PriceRow
from pipeline.domain.prices.cost_plus import cost_plus_margin
from pipeline.domain.prices.graduated import graduated_price


def price(row: PriceRow, cost_charged_pico: int, overage: int, units_before: int) -> int:
    """Return what a price row adds to the cost charged for `overage` units: the margin, which may be negative (R6.7).

    `units_before` are the overage units that this row has priced so far for the customer in the period.
    """
    if row.tiers:
        return graduated_price(row.tiers, units_before, overage) - cost_charged_pico
    return cost_plus_margin(row.margin_percent_pico, cost_charged_pico)

"""Cost plus: the cost charged, and a percentage of it as margin (R6.7)."""

from pipeline.domain.money import PICO, divide_half_even


def percent_of(percent_pico: int, amount_pico: int) -> int:
    """Return a percentage, given in 10^-12 percent, of an amount, rounded (R6.7)."""
    return divide_half_even(amount_pico * percent_pico, 100 * PICO)


def cost_plus_margin(margin_percent_pico: int, cost_charged_pico: int) -> int:
    """Return the margin on the cost charged."""
    return percent_of(margin_percent_pico, cost_charged_pico)

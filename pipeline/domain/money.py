"""Amounts as integers of 10^-12 of the currency: picodollars (R5.1)."""

PICO_DECIMALS = 12
PICO: int = 10**PICO_DECIMALS
"""Picodollars in one unit of the currency."""

_CENT = 10**10


def parse_decimal(text: str, *, decimals: int = PICO_DECIMALS) -> int:
    """Return a decimal string such as "25.00" as an integer of 10^-decimals.

    Raises ValueError, with the reason, for anything but digits with at most `decimals` of them behind a point:
    no sign, no exponent, no space.
    """
    whole, point, fraction = text.partition(".")
    if not (text.isascii() and whole.isdigit() and (fraction.isdigit() or not point)):
        raise ValueError(f"{text!r} is not a decimal number >= 0")
    if len(fraction) > decimals:
        raise ValueError(f"{text!r} has {len(fraction)} decimals, at most {decimals} are allowed")
    return int(whole + fraction.ljust(decimals, "0"))


def divide_half_even(numerator: int, denominator: int) -> int:
    """Return numerator / denominator rounded half to even (R5.1). The denominator is positive."""
    quotient, rest = divmod(numerator, denominator)
    twice = rest * 2
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


def round_to_cents(pico: int) -> int:
    """Return an amount in picodollars as cents, rounded half to even (R5.4)."""
    return divide_half_even(pico, _CENT)


def format_cents(cents: int) -> str:
    """Return cents as a decimal string with two decimals, such as "-0.05"."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"

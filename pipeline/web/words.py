"""Numbers and days as people read them."""

from datetime import date

from pipeline.domain.money import PICO, format_cents, round_to_cents

_MINUS = "\N{MINUS SIGN}"


def money(pico: int) -> str:
    """Return an amount rounded to the cent, thousands separated: "1,980.15"."""
    return cents(round_to_cents(pico))


def cents(amount: int) -> str:
    """Return cents with thousands separated."""
    whole, fraction = format_cents(abs(amount)).split(".")
    return f"{_MINUS if amount < 0 else ''}{int(whole):,}.{fraction}"


def signed(amount: int) -> str:
    """Return cents with their sign."""
    return f"+{cents(amount)}" if amount > 0 else cents(amount)


def exact(pico: int) -> str:
    """Return an amount with all the decimals that it has, two at least."""
    whole, fraction = divmod(abs(pico), PICO)
    decimals = f"{fraction:012d}".rstrip("0").ljust(2, "0")
    return f"{_MINUS if pico < 0 else ''}{whole:,}.{decimals}"


def count(number: int) -> str:
    """Return a number with thousands separated."""
    return f"{number:,}"


def percent(part: int, whole: int) -> str:
    """Return a share in whole percent."""
    return f"{part * 100 // whole} %" if whole else "\N{EN DASH}"


def month_name(day: str) -> str:
    """Return "October 2026" for "2026-10-01", and "15 October 2026" for a period that begins within a month."""
    first = date.fromisoformat(day)
    name = f"{first:%B %Y}"
    return name if first.day == 1 else f"{first.day} {name}"

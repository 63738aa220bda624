"""Numbers as explanations write them: exact, and no longer than they are."""

from pipeline.domain.money import PICO_DECIMALS, format_cents
from pipeline.domain.statements import format_exact

_SECONDS = len("2026-11-03T10:22:33")


def amount_text(pico: int) -> str:
    """Return an amount in picodollars with thousands separated and all the decimals that it has, two at least."""
    whole, fraction = format_exact(abs(pico)).split(".")
    return f"{'-' if pico < 0 else ''}{int(whole):,}.{fraction.rstrip('0').ljust(2, '0')}"


def cents_text(cents: int) -> str:
    """Return cents with thousands separated and a sign, such as "+1,980.15"."""
    whole, fraction = format_cents(abs(cents)).split(".")
    return f"{'-' if cents < 0 else '+'}{int(whole):,}.{fraction}"


def number_text(scaled: int, decimals: int = PICO_DECIMALS) -> str:
    """Return an integer of 10^-decimals as a decimal without trailing zeros, such as "12.5"."""
    whole, fraction = divmod(scaled, 10**decimals)
    return f"{whole:,}.{fraction:0{decimals}d}".rstrip("0").rstrip(".")


def per_million_text(pico_each: int) -> str:
    """Return a price in picodollars per token as one per million tokens."""
    return amount_text(pico_each * 10**6)


def instant_text(rfc3339: str) -> str:
    """Return an RFC 3339 time in UTC to the second, such as "2026-11-03 10:22:33 UTC"."""
    return f"{rfc3339[:_SECONDS].replace('T', ' ')} UTC"


def tenths_text(numerator: int, denominator: int) -> str:
    """Return a fraction that is not negative with one decimal, half up. The denominator is positive."""
    tenths = (numerator * 20 + denominator) // (2 * denominator)
    return f"{tenths // 10:,}.{tenths % 10}"


def listed(texts: list[str]) -> str:
    """Return texts as a list in a sentence, such as "a, b and c"."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"

"""Quantities in the customer's words (R8.1, R8.3)."""

_VOWELS = "aeiou"


def count_of(quantity: int, unit: str) -> str:
    """Return a quantity with its unit, such as "1 document" or "1,820 queries"."""
    return f"{quantity:,} {unit if quantity == 1 else plural(unit)}"


def plural(unit: str) -> str:
    """Return the name of several units, such as "queries"."""
    if unit.endswith("y") and unit[-2:-1] not in _VOWELS:
        return f"{unit[:-1]}ies"
    if unit.endswith(("s", "x", "z", "ch", "sh")):
        return f"{unit}es"
    return f"{unit}s"

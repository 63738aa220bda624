from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.money import divide_half_even, format_cents, parse_decimal, round_to_cents


@pytest.mark.rule("R5.1")
@given(st.integers(-(10**40), 10**40), st.integers(1, 10**20))
def test_division_rounds_half_to_even(numerator: int, denominator: int) -> None:
    """A division gives the nearest integer, and the even one of two that are equally near."""
    quotient = divide_half_even(numerator, denominator)

    twice_off = 2 * (numerator - quotient * denominator)
    assert abs(twice_off) <= denominator
    assert abs(twice_off) < denominator or quotient % 2 == 0


@pytest.mark.rule("R5.4")
@given(st.integers(-(10**25), 10**25))
def test_cents_round_as_decimal_does(pico: int) -> None:
    """Rounding to the cent and printing it equals the decimal module's half-even rounding."""
    expected = (Decimal(pico) / 10**12).quantize(Decimal("0.01"), ROUND_HALF_EVEN)

    assert Decimal(format_cents(round_to_cents(pico))) == expected


@pytest.mark.rule("R5.4")
@pytest.mark.parametrize(
    ("pico", "text"), [(5 * 10**9, "0.00"), (15 * 10**9, "0.02"), (-25 * 10**9, "-0.02"), (-(10**9), "0.00")]
)
def test_half_cents_go_to_the_even_cent(pico: int, text: str) -> None:
    """Half a cent goes to the even cent, and nothing prints as minus nought."""
    assert format_cents(round_to_cents(pico)) == text


@pytest.mark.rule("R5.1", "R2.2")
@pytest.mark.parametrize("text", ["-1", "+1", "1e3", " 1", "1.", ".5", "", "NaN", "1,5", "٣", "0.0000000000001"])
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    """Only digits with at most twelve decimals are an amount."""
    with pytest.raises(ValueError, match=r".+"):
        parse_decimal(text)


@pytest.mark.rule("R5.1")
def test_decimals_are_exact() -> None:
    """An amount becomes picodollars without rounding."""
    assert parse_decimal("0.123456789012") == 123456789012
    assert parse_decimal("25") == 25 * 10**12

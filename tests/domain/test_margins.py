"""Tests of margin risk."""

from typing import Any

from pipeline.domain.margins import Margin, MarginReport, MonthSums, margins_of
from tests.domain.world import DOLLAR

MONTHS = ("2026-09", "2026-10", "2026-11")


def sums(customer: str, cost: int, charged: int = 0, earnings: int = 0, **changes: Any) -> MonthSums:
    """Return a month's usage in dollars: its cost, what of it was charged, and what the builder earns."""
    fields: dict[str, Any] = {
        "builder": "northwind",
        "app": "helpdesk",
        "customer": customer,
        "month": MONTHS[-1],
        "kind": "usage",
        "lines": 1,
        "blocked": 0,
        "cost_pico": cost * DOLLAR,
        "cost_charged_pico": charged * DOLLAR,
        "charge_pico": (charged + earnings) * DOLLAR,
        "earnings_pico": earnings * DOLLAR,
    }
    return MonthSums(**(fields | changes))


def report(*months: MonthSums) -> MarginReport:
    return margins_of(MONTHS, "USD", {"acme": "Acme"}, months)


def only(*months: MonthSums) -> Margin:
    (row,) = report(*months).rows
    return row


def test_who_pays_its_cost_is_fine() -> None:
    """Revenue above cost: no flag."""
    row = only(sums("acme", 100, 80, 30))

    assert (row.level, row.flags, row.month.gap_pico) == ("fine", (), -10 * DOLLAR)


def test_included_cost_beyond_earnings_is_carried_by_the_licence() -> None:
    """What allowances, failed calls and test environments cost, less what the builder earns."""
    row = only(sums("acme", 100, 20, 10), sums("acme", 5, kind="failed"), sums("acme", 7, kind="non_billable"))

    shown = row.as_dict()
    assert (row.level, row.flags) == ("watch", ("uncovered",))
    assert shown["included_cost"] == "92.000000000000"
    assert shown["included_cost_by_kind_pico"] == {
        "usage": 80 * DOLLAR,
        "failed": 5 * DOLLAR,
        "repeat": 0,
        "non_billable": 7 * DOLLAR,
    }
    assert row.sentence == "Acme cost 112.00 USD and paid 30.00 USD by use; the licence carries 82.00 USD."


def test_a_heavy_customer_that_is_carried_needs_another_plan() -> None:
    """At three times the median customer's cost, with the ratio as an exact fraction."""
    rows = report(sums("a", 10, 10), sums("b", 11, 11), sums("c", 4, 4), sums("heavy", 33)).rows

    assert rows[0].customer == "heavy"
    assert (rows[0].level, rows[0].flags) == ("act", ("uncovered", "heavy"))
    assert rows[0].as_dict()["times_median"] == "3.1"
    assert rows[0].ratio == (66 * DOLLAR, 21 * DOLLAR)
    assert report(sums("a", 10), sums("b", 40)).as_dict()["apps"][0]["heaviest"] == "b"
    assert rows[0].sentence.endswith(
        "it costs 3.1 times what the median customer of helpdesk costs. It needs another plan."
    )


def test_who_grows_and_pays_for_it_is_fine() -> None:
    """Flags are shown, but revenue beyond the cost is no risk."""
    months = [sums("acme", cost, 1, 999, month=month) for cost, month in zip((100, 200, 400), MONTHS, strict=True)]

    row = only(*months)

    assert (row.level, row.flags) == ("fine", ("growing",))


def test_a_median_of_two_says_nothing() -> None:
    """Of two customers none is heavy."""
    assert all("heavy" not in row.flags for row in report(sums("a", 1), sums("b", 100)).rows)


def test_a_growing_customer_that_is_carried_needs_another_plan() -> None:
    """A fifth more in each of the last months."""
    growing = [sums("acme", cost, month=month) for cost, month in zip((100, 120, 150), MONTHS, strict=True)]
    steady = [sums("acme", cost, month=month) for cost, month in zip((100, 119, 150), MONTHS, strict=True)]

    row = only(*growing)

    assert (row.level, row.flags) == ("act", ("uncovered", "growing"))
    assert "its included cost grew by 20.0 % in 2026-10 and 25.0 % in 2026-11" in row.sentence
    assert only(*steady).flags == ("uncovered",)


def test_usage_sold_below_cost_needs_another_plan() -> None:
    """A builder that pays for every paid unit."""
    row = only(sums("acme", 10, 10, -4))

    assert (row.level, row.flags) == ("act", ("uncovered", "below_cost"))
    assert "its paid usage is sold 4.00 USD below cost" in row.sentence


def test_customers_without_usage_in_the_month_are_left_out() -> None:
    """An earlier month makes a trend, no row; nor does it count in the median."""
    assert report(sums("acme", 10, month="2026-10")).rows == ()


def test_the_riskiest_come_first() -> None:
    """By level, then by what the licence carries."""
    rows = report(sums("fine", 1, 1, 1), sums("small", 5), sums("large", 9), sums("below", 2, 2, -1)).rows

    assert [row.customer for row in rows] == ["below", "large", "small", "fine"]


def test_totals_are_sums_of_rows() -> None:
    """Each amount."""
    totals = report(sums("a", 10, 5, 2), sums("b", 20, 1, 1)).as_dict()["totals"]

    assert (totals["cost"], totals["revenue"], totals["gap"]) == (
        "30.000000000000",
        "9.000000000000",
        "21.000000000000",
    )

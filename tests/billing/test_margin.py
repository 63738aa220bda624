"""Tests of margin risk that is read from ClickHouse."""

from decimal import Decimal

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.billing.margin import read_margin_risk
from tests.billing.explain_support import put, rated

_SUMS = """
SELECT customer, app, sum(cost), sum(charge), sum(provider_reward), sum(builder_earnings), count()
FROM usage.lines_v1 WHERE formatDateTime(posted_at, '%Y-%m') = {month:String} GROUP BY customer, app
"""


@pytest.mark.rule("R8.2", "R6.9")
def test_figures_are_sums_of_lines(store: Client) -> None:
    """Cost, revenue, reward and earnings of every row and month of the trend are those of usage.lines_v1."""
    made = rated()
    put(store, made.lines)
    months = sorted({line.posted_at[:7] for line in made.lines})

    for month in months:
        rows = read_margin_risk(store, made.catalog, month).as_dict()["rows"]
        wanted = {row[:2]: row[2:] for row in store.query(_SUMS, parameters={"month": month}).result_rows}
        found = {
            (row["customer"], row["app"]): (
                *(Decimal(row[name]) for name in ("cost", "revenue", "provider_reward", "builder_earnings")),
                row["lines"],
            )
            for row in rows
        }
        assert found == wanted
        for row in rows:
            assert sum(row["included_cost_by_kind_pico"].values()) == row["included_cost_pico"]
            assert row["trend"][-1]["cost_pico"] == row["cost_pico"]
            assert row["gap_pico"] == row["included_cost_pico"] - row["builder_earnings_pico"]


def test_a_builder_sees_its_own_customers(store: Client) -> None:
    """Rows, and the medians in them, are of this builder's apps alone."""
    made = rated()
    put(store, made.lines)
    month = made.lines[-1].posted_at[:7]

    every = read_margin_risk(store, made.catalog, month).rows
    for builder in {row.builder for row in every}:
        assert read_margin_risk(store, made.catalog, month, builder).rows == tuple(
            row for row in every if row.builder == builder
        )


@pytest.mark.parametrize("month", ["2026", "2026-13", "x"])
def test_what_is_no_month_is_refused(store: Client, month: str) -> None:
    """With a message that shows one."""
    with pytest.raises(ValueError, match="is no month"):
        read_margin_risk(store, rated().catalog, month)

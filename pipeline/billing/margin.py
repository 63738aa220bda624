"""Margin risk of a month's customers, read from ClickHouse."""

from datetime import date

from clickhouse_connect.driver.client import Client

from pipeline.billing.sums import read_sums
from pipeline.domain.catalog import Catalog
from pipeline.domain.instants import DAY_US, day_of
from pipeline.domain.margins import MONTHS, MarginReport, MonthSums, margins_of
from pipeline.domain.months import month_of

_BY = ("builder", "app", "customer", "month", "kind")
_MEASURES = ("lines", "blocked", "cost_pico", "cost_charged_pico", "charge_pico", "builder_earnings_pico")


def read_margin_risk(client: Client, catalog: Catalog, month: str, builder: str | None = None) -> MarginReport:
    """Return what each customer cost and paid in a calendar month of posting, the riskiest first; of one builder if named.

    Raises ValueError when the month is none.
    """
    months = _months_until(month)
    rows = read_sums(
        client,
        _BY,
        builder=builder,
        since=_day(month_of(months[0]).start_us),
        until=_day(month_of(month).end_us),
        measures=_MEASURES,
    )
    sums = (
        MonthSums(row["builder"], row["app"], row["customer"], f"{row['month']:%Y-%m}", row["kind"], *_measured(row))
        for row in rows
    )
    return margins_of(months, catalog.currency, catalog.customers, sums)


def _measured(row: dict[str, int]) -> list[int]:
    return [int(row[name]) for name in _MEASURES]


def _day(instant_us: int) -> date:
    return day_of(instant_us // DAY_US)


def _months_until(month: str) -> list[str]:
    """Return the months of the trend, oldest first. Raises ValueError."""
    months = [month]
    for _ in range(MONTHS - 1):
        last_day = _day(month_of(months[0]).start_us - 1)
        months.insert(0, f"{last_day:%Y-%m}")
    return months

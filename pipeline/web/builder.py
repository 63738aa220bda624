"""A builder's apps, customers, earnings, payouts, and who costs more than they bring."""

import time
from datetime import UTC, date, datetime
from typing import Any

from clickhouse_connect.driver.client import Client
from fastapi import APIRouter
from fastapi.responses import Response

from pipeline.access import Action
from pipeline.billing.margin import read_margin_risk
from pipeline.billing.payouts import PayoutStatement, read_payouts
from pipeline.billing.sums import read_sums
from pipeline.web.charts import Bar, bars
from pipeline.web.pages import Signed, not_found
from pipeline.web.words import money

router = APIRouter(include_in_schema=False)

_MONTHS_SHOWN = 6


@router.get("/ui/builders/{builder}")
async def get_builder(builder: str, who: Signed) -> Response:
    """Show what a builder earns, and with whom."""
    who.require(Action.READ_EARNINGS, builder=builder)
    catalog = who.catalog
    if builder not in catalog.builders:
        raise not_found()
    now_us = time.time_ns() // 1000
    today = datetime.now(UTC).date()
    months = _months(today)

    def read(client: Client) -> dict[str, Any]:
        since = date.fromisoformat(f"{months[-1]}-01")
        earned = read_sums(
            client, ("month",), builder=builder, since=since, measures=("builder_earnings_pico", "charge_pico")
        )
        customers = read_sums(
            client,
            ("customer", "app"),
            builder=builder,
            since=today.replace(day=1),
            measures=("lines", "charge_pico", "builder_earnings_pico"),
        )
        payouts: list[PayoutStatement] = [
            statement
            for month in months[:3]
            for statement in read_payouts(client, catalog, month, builder, now_us=now_us).statements
        ]
        risk = read_margin_risk(client, catalog, months[0], builder)
        return {"earned": earned, "customers": customers, "payouts": payouts, "risk": risk}

    found = await who.ask(read)
    by_month = {f"{row['month']:%Y-%m}": row["builder_earnings_pico"] for row in found["earned"]}
    data = [Bar(month, by_month.get(month, 0), f"{month}: {money(by_month.get(month, 0))}") for month in months[::-1]]
    return who.render(
        "builder.html",
        title=catalog.builders[builder],
        builder=builder,
        name=catalog.builders[builder],
        apps=[app.id for app in catalog.apps.values() if app.builder == builder],
        chart=bars("Earnings by month", data),
        month=months[0],
        **found,
    )


def _months(today: date) -> list[str]:
    """Return the present month and those before it, latest first."""
    number = today.year * 12 + today.month - 1
    return [f"{each // 12:04d}-{each % 12 + 1:02d}" for each in range(number, number - _MONTHS_SHOWN, -1)]

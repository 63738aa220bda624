"""Which statements there are, with their totals."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.billing.sums import read_sums
from pipeline.domain.catalog import Catalog
from pipeline.domain.money import format_cents, round_to_cents
from pipeline.domain.statements import StatementState, statement_state

_CLOSINGS = "SELECT customer, app, period, cut_off FROM usage.closings FINAL"


@dataclass(frozen=True, slots=True)
class StatementSummary:
    """One statement in a list; the total is that of the statement itself (R5.4)."""

    customer: str
    app: str
    period: str
    lines: int
    total_cents: int
    state: StatementState | None
    cut_off: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "customer": self.customer,
            "app": self.app,
            "period": self.period,
            "state": self.state,
            "cut_off": self.cut_off,
            "lines": self.lines,
            "total": format_cents(self.total_cents),
        }


def list_statements(
    client: Client,
    customer: str | None = None,
    apps: Iterable[str] | None = None,
    period: str | None = None,
    *,
    catalog: Catalog | None = None,
    now_us: int | None = None,
) -> list[StatementSummary]:
    """Return the statements of a customer, of some apps, of a period, or all; the latest period first."""
    by = ("customer", "app", "period", "feature", "unit")
    day = None if period is None else date.fromisoformat(period)
    cents: dict[tuple[str, str, str], int] = {}
    lines: dict[tuple[str, str, str], int] = {}
    for row in read_sums(client, by, customer=customer, apps=apps, period=day, measures=("lines", "charge_pico")):
        key = (row["customer"], row["app"], row["period"].isoformat())
        cents[key] = cents.get(key, 0) + round_to_cents(row["charge_pico"])
        lines[key] = lines.get(key, 0) + row["lines"]
    found = client.query(_CLOSINGS).result_rows
    cut_offs = {(of_customer, app, first.isoformat()): cut_off for of_customer, app, first, cut_off in found}
    instant_us = time.time_ns() // 1000 if now_us is None else now_us
    summaries = [
        StatementSummary(
            *key,
            lines[key],
            total,
            statement_state(catalog, *key, frozen=key in cut_offs, now_us=instant_us),
            cut_offs.get(key),
        )
        for key, total in cents.items()
    ]
    summaries.sort(key=lambda each: (each.customer, each.app))
    summaries.sort(key=lambda each: each.period, reverse=True)
    return summaries

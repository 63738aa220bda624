"""The statement of a (customer, app, period), read from ClickHouse (R8.1, R5.4)."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.domain.statements import DIMENSIONS, DetailRow, Statement, StatementRow

_NAMES_SHOWN_MAX = 12
_CUSTOMERS_COMPARED_MAX = 100_000

# FINAL shows each line in its latest version, whatever was re-sent. Charges are summed wider than they are stored.
_ROWS = """
SELECT
    feature,
    unit,
    sumIf(quantity, kind = 'usage'),
    sum(included),
    sum(granted),
    sum(overage),
    sum(blocked),
    sum(toInt256(charge_pico))
FROM usage.usage_lines FINAL
WHERE customer = {customer:String} AND app = {app:String} AND period = {period:Date}
GROUP BY feature, unit
"""

_DETAIL_ROWS = """
SELECT
    feature,
    unit,
    {dimension:Identifier} AS name,
    sumIf(quantity, kind = 'usage'),
    sum(included),
    sum(granted),
    sum(overage),
    sum(blocked),
    sum(toInt256(charge_pico)),
    sum(input_tokens),
    sum(cached_input_tokens),
    sum(output_tokens)
FROM usage.usage_lines FINAL
WHERE customer = {customer:String} AND app = {app:String} AND period = {period:Date}
GROUP BY feature, unit, name
"""


class NoStatementError(Exception):
    """There is no such statement; the message says what there is."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far the sink is: `at` is when it last inserted (UTC), over `partitions` partitions of usage.lines."""

    at: datetime
    partitions: int


def read_statement(client: Client, customer: str, app: str, period: str, dimension: str | None = None) -> Statement:
    """Return a statement; with `dimension`, one of DIMENSIONS, each row has its detail. `period` is its first day.

    Raises NoStatementError when no line is there; the message says what exists instead.
    """
    parameters = {"customer": customer, "app": app, "period": _first_day(period)}
    if dimension is None:
        rows = [StatementRow(*row) for row in client.query(_ROWS, parameters=parameters).result_rows]
    else:
        if dimension not in DIMENSIONS:
            raise ValueError(f"{dimension!r} is none of {', '.join(DIMENSIONS)}")
        found = client.query(_DETAIL_ROWS, parameters={**parameters, "dimension": dimension}).result_rows
        rows = _with_detail(found)
    if not rows:
        raise NoStatementError(_what_exists(client, customer, app, period))
    rows.sort(key=lambda row: (row.feature, row.unit))
    return Statement(customer, app, period, tuple(rows), dimension)


def only_app(client: Client, customer: str, period: str) -> str:
    """Return the one app that a customer used in a period. Raises NoStatementError when there is none or a choice."""
    apps = _column(
        client,
        "SELECT DISTINCT app FROM usage.usage_lines FINAL "
        "WHERE customer = {customer:String} AND period = {period:Date} ORDER BY app",
        {"customer": customer, "period": _first_day(period)},
    )
    if not apps:
        raise NoStatementError(_what_exists(client, customer, None, period))
    if len(apps) > 1:
        raise NoStatementError(f"customer {customer!r} used several apps in {period}, choose one: {_listed(apps)}")
    return apps[0]


def read_freshness(client: Client) -> Freshness | None:
    """Return how fresh ClickHouse is, None when no sink ever wrote."""
    rows = client.query("SELECT max(at), count() FROM usage.sink_positions FINAL").result_rows
    at, partitions = rows[0]
    return Freshness(at, partitions) if partitions else None


def _with_detail(found: Iterable[Sequence[Any]]) -> list[StatementRow]:
    """Group detail rows under their statement row, which is their sum."""
    grouped: dict[tuple[str, str], list[DetailRow]] = {}
    for feature, unit, *detail in found:
        grouped.setdefault((feature, unit), []).append(DetailRow(*detail))
    return [
        StatementRow(
            feature,
            unit,
            sum(part.quantity for part in parts),
            sum(part.included for part in parts),
            sum(part.granted for part in parts),
            sum(part.overage for part in parts),
            sum(part.blocked for part in parts),
            sum(part.charge_pico for part in parts),
            tuple(sorted(parts, key=lambda part: part.name)),
        )
        for (feature, unit), parts in grouped.items()
    ]


def _what_exists(client: Client, customer: str, app: str | None, period: str) -> str:
    """Say which part of a request is unknown, and what is known instead."""
    periods = client.query(
        "SELECT DISTINCT app, period FROM usage.usage_lines FINAL WHERE customer = {customer:String} ORDER BY app, period",
        parameters={"customer": customer},
    ).result_rows
    if not periods:
        return _unknown_customer(client, customer)
    apps = sorted({name for name, _ in periods})
    if app is not None and app not in apps:
        return f"no lines of customer {customer!r} for app {app!r}{_did_you_mean(app, apps)}; apps with lines: {_listed(apps)}"
    days = sorted({day.isoformat() for name, day in periods if app in (None, name)})
    of_app = "" if app is None else f" for app {app!r}"
    return f"no lines of customer {customer!r}{of_app} in period {period}; periods with lines: {_listed(days)}"


def _unknown_customer(client: Client, customer: str) -> str:
    customers = _column(
        client,
        "SELECT DISTINCT customer FROM usage.usage_lines LIMIT {most:UInt32}",
        {"most": _CUSTOMERS_COMPARED_MAX},
    )
    if not customers:
        return f"no lines of customer {customer!r}: ClickHouse has no lines at all yet"
    return f"no lines of customer {customer!r}{_did_you_mean(customer, customers)}"


def _did_you_mean(name: str, names: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN_MAX
    return ", ".join(names[:_NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _column(client: Client, sql: str, parameters: dict[str, Any]) -> list[str]:
    return [row[0] for row in client.query(sql, parameters=parameters).result_rows]


def _first_day(period: str) -> date:
    """Return the day that names a period (R3.1). Raises NoStatementError when it is none."""
    try:
        return date.fromisoformat(period)
    except ValueError:
        raise NoStatementError(
            f"{period!r} is no period: a period is named by its first day, such as 2026-11-01"
        ) from None

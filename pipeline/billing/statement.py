"""The statement of a (customer, app, period), from ClickHouse (R8.1)."""

import difflib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.billing.sums import read_sums
from pipeline.domain.catalog import Catalog
from pipeline.domain.statements import DIMENSIONS, DetailRow, Statement, StatementRow, statement_state

_NAMES_SHOWN_MAX = 12
_CUSTOMERS_COMPARED_MAX = 100_000
_COUNTS = ("quantity", "included", "granted", "overage", "blocked")
_TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens")
_CUT_OFF = """
SELECT cut_off FROM usage.closings FINAL
WHERE customer = {customer:String} AND app = {app:String} AND period = {period:Date}
"""


class NoStatementError(Exception):
    """There is no such statement; the message says what there is."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far the sink is: `at` is when it last inserted (UTC), over `partitions` partitions of usage.lines."""

    at: datetime
    partitions: int


def read_statement(
    client: Client,
    customer: str,
    app: str,
    period: str,
    dimension: str | None = None,
    *,
    catalog: Catalog | None = None,
    now_us: int | None = None,
) -> Statement:
    """Return a statement; with `dimension`, one of DIMENSIONS, each row has its detail. `period` is its first day.

    With the catalog its state is told, as of `now_us` (now when absent). Raises NoStatementError when no line is there; the
    message says what exists instead.
    """
    if dimension not in (None, *DIMENSIONS):
        raise ValueError(f"{dimension!r} is none of {', '.join(DIMENSIONS)}")
    day = first_day(period)
    by = ("feature", "unit", *([dimension] if dimension else []))
    measures = (*_COUNTS, "charge_pico", *(_TOKENS if dimension else ()))
    found = read_sums(client, by, customer=customer, app=app, period=day, measures=measures)
    if not found:
        raise NoStatementError(what_exists(client, customer, app, period))
    parameters = {"customer": customer, "app": app, "period": day}
    cut_offs = [row[0] for row in client.query(_CUT_OFF, parameters=parameters).result_rows]
    instant_us = time.time_ns() // 1000 if now_us is None else now_us
    state = statement_state(catalog, customer, app, period, frozen=bool(cut_offs), now_us=instant_us)
    rows = [_row(each) for each in found] if dimension is None else _with_detail(found, dimension)
    rows.sort(key=lambda row: (row.feature, row.unit))
    return Statement(customer, app, period, tuple(rows), dimension, state, cut_offs[0] if cut_offs else None)


def _row(sums: Mapping[str, Any]) -> StatementRow:
    counts = {name: sums[name] for name in _COUNTS}
    return StatementRow(feature=sums["feature"], unit=sums["unit"], charge_pico=sums["charge_pico"], **counts)


def only_app(client: Client, customer: str, period: str) -> str:
    """Return the one app that a customer used in a period. Raises NoStatementError when there is none or a choice."""
    apps = [
        row["app"]
        for row in read_sums(client, ("app",), customer=customer, period=first_day(period), measures=("lines",))
    ]
    if not apps:
        raise NoStatementError(what_exists(client, customer, None, period))
    if len(apps) > 1:
        raise NoStatementError(f"customer {customer!r} used several apps in {period}, choose one: {_listed(apps)}")
    return str(apps[0])


def read_freshness(client: Client) -> Freshness | None:
    """Return how fresh ClickHouse is, None when no sink ever wrote."""
    rows = client.query("SELECT max(at), count() FROM usage.sink_positions FINAL").result_rows
    at, partitions = rows[0]
    return Freshness(at, partitions) if partitions else None


def _with_detail(found: Iterable[Mapping[str, Any]], dimension: str) -> list[StatementRow]:
    """Group detail rows under their statement row, which is their sum."""
    grouped: dict[tuple[str, str], list[DetailRow]] = {}
    for sums in found:
        counts = {name: sums[name] for name in (*_COUNTS, *_TOKENS)}
        part = DetailRow(name=sums[dimension], charge_pico=sums["charge_pico"], **counts)
        grouped.setdefault((sums["feature"], sums["unit"]), []).append(part)
    return [_sum_of(feature, unit, parts) for (feature, unit), parts in grouped.items()]


def _sum_of(feature: str, unit: str, parts: Sequence[DetailRow]) -> StatementRow:
    sums = {name: sum(getattr(part, name) for part in parts) for name in (*_COUNTS, "charge_pico")}
    return StatementRow(feature, unit, **sums, detail=tuple(sorted(parts, key=lambda part: part.name)))


def what_exists(client: Client, customer: str, app: str | None, period: str) -> str:
    """Say which part of a request is unknown, and what is known instead."""
    periods = [
        (row["app"], row["period"])
        for row in read_sums(client, ("app", "period"), customer=customer, measures=("lines",))
    ]
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


def first_day(period: str) -> date:
    """Return the day that names a period (R3.1). Raises NoStatementError when it is none."""
    try:
        return date.fromisoformat(period)
    except ValueError:
        raise NoStatementError(
            f"{period!r} is no period: a period is named by its first day, such as 2026-11-01"
        ) from None

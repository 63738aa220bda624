"""The single lines that a figure of a statement is the sum of (R8.1)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.billing.lines import LINE_SETTINGS, as_line
from pipeline.billing.statement import NoStatementError, first_day, what_exists
from pipeline.billing.sums import read_sums
from pipeline.domain.statements import format_exact

FILTERS = ("feature", "unit", "workspace", "deployment", "environment", "model", "kind")
LIMIT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class LinesPage:
    """Some of the lines that a figure is the sum of, and that sum."""

    customer: str
    app: str
    period: str
    lines: list[dict[str, Any]]
    next_after_seq: int | None
    """Behind which line the next page begins; None on the last one."""
    count: int
    """Of all pages, as is `charge_pico`."""
    charge_pico: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "lines": self.lines,
            "next_after_seq": self.next_after_seq,
            "count": self.count,
            "charge_pico": self.charge_pico,
            "charge": format_exact(self.charge_pico),
        }


def read_page(
    client: Client,
    customer: str,
    app: str,
    period: str,
    where: Mapping[str, str] | None = None,
    after_seq: int = 0,
    limit: int = 100,
) -> LinesPage:
    """Return a page of `read_lines_of` with what all of them sum to. Raises NoStatementError when there is none."""
    day = first_day(period)
    sums = read_sums(client, (), customer=customer, app=app, period=day, where=where, measures=("lines", "charge_pico"))
    if not sums:
        raise NoStatementError(_why_none(client, customer, app, period, where or {}))
    lines = read_lines_of(client, customer, app, period, where, after_seq, limit + 1)
    more = len(lines) > limit
    page = lines[:limit]
    return LinesPage(
        customer, app, period, page, page[-1]["seq"] if more else None, sums[0]["lines"], sums[0]["charge_pico"]
    )


def read_lines_of(
    client: Client,
    customer: str,
    app: str,
    period: str,
    where: Mapping[str, str] | None = None,
    after_seq: int = 0,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Return lines of a statement by seq, at most `limit` of those behind `after_seq`; fields as R7.1 names them.

    `where` holds names of FILTERS to their values. Raises ValueError for another name.
    """
    conditions = []
    for name in where or {}:
        if name not in FILTERS:
            raise ValueError(f"{name!r} is none of {', '.join(FILTERS)}")
        conditions.append(f"AND {name} = {{{name}:String}}")
    sql = f"""
        SELECT * FROM usage.lines_v1
        WHERE customer = {{customer:String}} AND app = {{app:String}} AND period = {{period:Date}} AND seq > {{after:UInt64}}
        {" ".join(conditions)} ORDER BY seq LIMIT {{limit:UInt64}}
    """  # noqa: S608 - names come from our own list, values are parameters
    parameters: dict[str, Any] = {
        **(where or {}),
        "customer": customer,
        "app": app,
        "period": first_day(period),
        "after": after_seq,
        "limit": min(limit, LIMIT_MAX + 1),  # one more tells whether there are more
    }
    found = client.raw_query(sql, parameters=parameters, fmt="JSONEachRow", settings=LINE_SETTINGS)
    return [as_line(json.loads(row)) for row in found.splitlines()]


def _why_none(client: Client, customer: str, app: str, period: str, where: Mapping[str, str]) -> str:
    if not where or not read_sums(
        client, (), customer=customer, app=app, period=first_day(period), measures=("lines",)
    ):
        return what_exists(client, customer, app, period)
    named = ", ".join(f"{name} {value!r}" for name, value in where.items())
    return f"no line of customer {customer!r}, app {app!r}, period {period} has {named}: `--detail` shows what there is"

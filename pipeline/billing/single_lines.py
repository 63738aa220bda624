"""The single lines that a figure of a statement is the sum of (R8.1)."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.billing.lines import LINE_SETTINGS, as_line

FILTERS = ("feature", "unit", "workspace", "deployment", "environment", "model", "kind")
LIMIT_MAX = 1_000


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
        "period": date.fromisoformat(period),
        "after": after_seq,
        "limit": min(limit, LIMIT_MAX),
    }
    found = client.raw_query(sql, parameters=parameters, fmt="JSONEachRow", settings=LINE_SETTINGS)
    return [as_line(json.loads(row)) for row in found.splitlines()]

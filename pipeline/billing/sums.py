"""Sums of lines by whatever is asked for: from the rollup, and from the lines that are not in it yet. Exact and live.

Every figure of statements, daily usage, payouts, rewards and margins comes from here, so that they agree to the picodollar.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from clickhouse_connect.driver.client import Client

DIMENSIONS = (
    "customer",
    "period",
    "app",
    "day",
    "builder",
    "plan",
    "plan_version",
    "deployment",
    "environment",
    "workspace",
    "feature",
    "model",
    "class",
    "provider",
    "unit",
    "kind",
    "late",
)
"""What sums can be taken by, besides `month`."""
COUNTS = (
    "quantity",
    "included",
    "granted",
    "overage",
    "blocked",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
)
AMOUNTS = (
    "cost_pico",
    "cost_charged_pico",
    "margin_pico",
    "surcharge_pico",
    "charge_pico",
    "provider_reward_pico",
    "builder_earnings_pico",
)
MEASURES = ("lines", *COUNTS, *AMOUNTS)
"""What is summed. `quantity` is that of kind `usage`, as on statements (R8.1)."""
_LINE_SIDE = {
    "day": "toDate(posted_at)",
    "lines": "toUInt64(1)",
    **{name: f"toUInt128(usage_lines.{name})" for name in COUNTS},
    **{name: f"toInt256(usage_lines.{name})" for name in AMOUNTS},
}
"""How a line says what the rollup has in a column."""
_TRIES_MAX = 20

_TAILS = """
SELECT heads.customer, done.upto
FROM (SELECT customer, max(seq) AS seq FROM usage.line_heads GROUP BY customer) AS heads
LEFT JOIN (SELECT customer, max(upto) AS upto FROM usage.rollup_days GROUP BY customer) AS done USING customer
WHERE heads.seq > done.upto
"""
_TAIL_OF_ONE = """
SELECT {customer:String}, max(done) AS upto
FROM (
    SELECT upto AS done, toUInt64(0) AS last FROM usage.rollup_days WHERE customer = {customer:String}
    UNION ALL
    SELECT toUInt64(0) AS done, toUInt64(seq) AS last FROM usage.line_heads WHERE customer = {customer:String}
)
HAVING max(last) > upto
"""
_TAIL = """
customer IN {tail_customers:Array(String)}
AND seq > transform(customer, {tail_customers:Array(String)}, {tail_uptos:Array(UInt64)}, 0)
AND seq > arrayMin({tail_uptos:Array(UInt64)})
"""
_AHEAD = """
countIf(upto > transform(customer, {tail_customers:Array(String)}, {tail_uptos:Array(UInt64)}, 18446744073709551615))
"""


class RollupMovingError(Exception):
    """The rollup was refreshed at every try to read it; try again."""


def read_sums(
    client: Client,
    by: Sequence[str],
    *,
    customer: str | None = None,
    app: str | None = None,
    apps: Iterable[str] | None = None,
    builder: str | None = None,
    period: date | None = None,
    since: date | None = None,
    until: date | None = None,
    where: Mapping[str, str] | None = None,
    measures: Sequence[str] = MEASURES,
) -> list[dict[str, Any]]:
    """Return one row for each combination of `by` that has a line: its names, and `measures` as integers, in the order of `by`.

    `since` and `until` (exclusive) are days of posting, UTC. `where` holds further dimensions to their values. Raises ValueError
    for a dimension that there is none of.
    """
    conditions, parameters = _conditions(
        customer=customer, app=app, apps=apps, builder=builder, period=period, since=since, until=until, where=where
    )
    for _ in range(_TRIES_MAX):
        tails = client.query(_TAIL_OF_ONE if customer is not None else _TAILS, parameters=parameters).result_rows
        parameters["tail_customers"] = [row[0] for row in tails]
        parameters["tail_uptos"] = [row[1] for row in tails]
        found = client.query(_sql(by, measures, conditions, has_tail=bool(tails)), parameters=parameters)
        rows = [dict(zip((*by, *measures, "ahead"), row, strict=True)) for row in found.result_rows]
        if not any(row.pop("ahead") for row in rows):
            return rows
    raise RollupMovingError("the rollup was refreshed at every try to read it: try again")


def _conditions(
    *,
    apps: Iterable[str] | None,
    since: date | None,
    until: date | None,
    where: Mapping[str, str] | None,
    **equal: Any,
) -> tuple[list[str], dict[str, Any]]:
    conditions, parameters = [], {}
    for name, value in {**equal, **_checked(where or {})}.items():
        if value is not None:
            conditions.append(f"{name} = {{{name}:{'Date' if name == 'period' else 'String'}}}")
            parameters[name] = value
    if apps is not None:
        conditions.append("app IN {apps:Array(String)}")
        parameters["apps"] = sorted(apps)
    for name, sign, day in (("since", ">=", since), ("until", "<", until)):
        if day is not None:
            conditions.append(f"day {sign} {{{name}:Date}}")
            parameters[name] = day
    return conditions, parameters


def _checked(where: Mapping[str, str]) -> Mapping[str, str]:
    for name in where:
        if name not in DIMENSIONS:
            raise ValueError(f"{name!r} is none of {', '.join(DIMENSIONS)}")
    return where


def _sql(by: Sequence[str], measures: Sequence[str], conditions: Sequence[str], *, has_tail: bool) -> str:
    """Return the query; names come from our own lists only, values are parameters."""
    for name in (*by, *measures):
        if name not in (*DIMENSIONS, "month", *MEASURES):
            raise ValueError(f"{name!r} is none of {', '.join(DIMENSIONS)}, month")
    keys = [_key(name) for name in by]
    used = {"customer", "kind", *("day" if name == "month" else name for name in by)}
    plain = [name for name in DIMENSIONS if name in used]
    of_lines = [f"{_LINE_SIDE[name]} AS {name}" if name in _LINE_SIDE else name for name in (*plain, *measures)]
    sums = ["sumIf(quantity, kind = 'usage')" if name == "quantity" else f"sum({name})" for name in measures]
    grouped = f"GROUP BY {', '.join(keys)} ORDER BY {', '.join(keys)}" if keys else "HAVING count() > 0"
    if not has_tail:
        return f"""
            SELECT {", ".join([*keys, *sums, "0"])}
            FROM usage.rollup_days FINAL WHERE {" AND ".join(conditions) or "1"} {grouped}
        """  # noqa: S608 - see above
    return f"""
        SELECT {", ".join([*keys, *sums, _AHEAD])}
        FROM (
            SELECT {", ".join([*plain, *measures])}, upto
            FROM usage.rollup_days FINAL WHERE {" AND ".join(conditions) or "1"}
            UNION ALL
            SELECT {", ".join(of_lines)}, toUInt64(0) AS upto
            FROM usage.usage_lines FINAL WHERE {" AND ".join([_TAIL, *map(_of_lines, conditions)])}
        )
        {grouped}
    """  # noqa: S608 - see above


def _key(name: str) -> str:
    return "toStartOfMonth(day)" if name == "month" else name


def _of_lines(condition: str) -> str:
    return condition.replace("day ", "toDate(posted_at) ", 1) if condition.startswith("day ") else condition

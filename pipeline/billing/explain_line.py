"""Why a line costs what it does: the line and what came before it, read from ClickHouse."""

from collections.abc import Callable, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.billing.statement import NoStatementError
from pipeline.domain.catalog import Catalog
from pipeline.domain.explanations import LineExplanation
from pipeline.domain.explanations_history import GrantHistory, History, PoolHistory, ShapeHistory, Windows
from pipeline.domain.explanations_sentences import explain
from pipeline.domain.lines import Line, PoolUse

_LINE = """
SELECT
    customer, seq, event_id, source, formatDateTime(time, '%Y-%m-%dT%H:%i:%S.%fZ'),
    formatDateTime(posted_at, '%Y-%m-%dT%H:%i:%S.%fZ'), toString(period), late, builder, app, plan, plan_version, deployment,
    environment, workspace, feature, model, class, request_type, unit, kind, quantity, included, granted, overage, blocked,
    input_tokens, cached_input_tokens, output_tokens, cost_pico, cost_charged_pico, margin_pico, surcharge_pico, charge_pico,
    pools.id, pools.scope_value, pools.units, provider_reward_pico, builder_earnings_pico, version, catalog, provider
FROM usage.usage_lines FINAL
WHERE customer = {customer:String} AND seq = {seq:UInt64}
"""
_POOLS_AT = 34
_LAST = "SELECT max(seq) FROM usage.usage_lines WHERE customer = {customer:String}"
# What went before in the line's account (R4.5): its plan version and period.
_SHAPES = """
SELECT deployment, environment, workspace, feature, model, class, unit, count(),
    sum(overage), sumIf(overage, same_day), sumIf(overage, same_hour),
    sum(charge), sumIf(charge, same_day), sumIf(charge, same_hour)
FROM (
    SELECT *, if(kind = 'usage', toInt256(charge_pico), 0) AS charge,
        toDateTime64({posted_at:String}, 6, 'UTC') AS at,
        toStartOfDay(posted_at) = toStartOfDay(at) AS same_day, toStartOfHour(posted_at) = toStartOfHour(at) AS same_hour
    FROM usage.usage_lines FINAL
    WHERE customer = {customer:String} AND seq < {seq:UInt64}
        AND plan = {plan:String} AND plan_version = {plan_version:UInt64} AND period = {period:Date}
)
GROUP BY deployment, environment, workspace, feature, model, class, unit
"""
# A line's pools are its allowances, which sum to `included`, and then its grants (R6.4).
_POOLS = """
SELECT use.1, use.2, unit, sum(use.3), sumIf(use.3, same_day), sumIf(use.3, same_hour)
FROM (
    SELECT unit, toDateTime64({posted_at:String}, 6, 'UTC') AS at,
        toStartOfDay(posted_at) = toStartOfDay(at) AS same_day, toStartOfHour(posted_at) = toStartOfHour(at) AS same_hour,
        arrayJoin(arrayZip(pools.id, pools.scope_value, pools.units, arrayCumSum(pools.units))) AS use
    FROM usage.usage_lines FINAL
    WHERE customer = {customer:String} AND seq < {seq:UInt64}
        AND plan = {plan:String} AND plan_version = {plan_version:UInt64} AND period = {period:Date}
        AND use.4 <= included
)
GROUP BY use.1, use.2, unit
"""
_GRANTS = """
SELECT use.1, unit, sum(use.3)
FROM (
    SELECT unit, arrayJoin(arrayZip(pools.id, pools.scope_value, pools.units, arrayCumSum(pools.units))) AS use
    FROM usage.usage_lines FINAL
    WHERE customer = {customer:String} AND seq < {seq:UInt64} AND granted > 0 AND use.4 > included
)
GROUP BY use.1, unit
"""


class NoLineError(NoStatementError):
    """There is no such line; the message says which there are."""


def explain_line(client: Client, catalog_of: Callable[[str], Catalog], customer: str, seq: int) -> LineExplanation:
    """Return why a line of a customer costs what it does.

    `catalog_of` finds a catalog version by its digest, and what to take for '' of old lines; what it raises is passed on.
    Raises NoLineError.
    """
    line = read_line(client, customer, seq)
    return explain(catalog_of(line.catalog), line, read_history(client, line))


def read_line(client: Client, customer: str, seq: int) -> Line:
    """Return a line in its latest version. Raises NoLineError."""
    parameters = {"customer": customer, "seq": seq}
    rows = client.query(_LINE, parameters=parameters).result_rows
    if rows:
        return _line(rows[0])
    last = client.query(_LAST, parameters=parameters).result_rows[0][0]
    if not last:
        raise NoLineError(f"no lines of customer {customer!r}")
    raise NoLineError(f"customer {customer!r} has no line {seq}; its lines are 1 to {last}")


def read_history(client: Client, line: Line) -> History:
    """Return what the customer's lines before a line say of its account and of grants."""
    parameters = {
        "customer": line.customer,
        "seq": line.seq,
        "plan": line.plan,
        "plan_version": line.plan_version,
        "period": line.period,
        "posted_at": line.posted_at.rstrip("Z").replace("T", " "),
    }

    def rows(sql: str) -> Sequence[Sequence[Any]]:
        found: Sequence[Sequence[Any]] = client.query(sql, parameters=parameters).result_rows
        return found

    shapes = rows(_SHAPES)
    return History(
        lines=sum(row[7] for row in shapes),
        pools=tuple(PoolHistory(*(*row[:3], Windows(*row[3:]))) for row in rows(_POOLS)),
        shapes=tuple(ShapeHistory(*(*row[:7], Windows(*row[8:11]), Windows(*row[11:]))) for row in shapes),
        grants=tuple(GrantHistory(*row) for row in rows(_GRANTS)),
    )


def _line(row: Sequence[Any]) -> Line:
    ids, scope_values, units = row[_POOLS_AT : _POOLS_AT + 3]
    pools = [PoolUse(*use) for use in zip(ids, scope_values, units, strict=True)]
    return Line(*(*row[:_POOLS_AT], pools, *row[_POOLS_AT + 3 :]))

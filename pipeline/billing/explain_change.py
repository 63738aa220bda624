"""Why a customer's bill changed, read from ClickHouse."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.billing.statement import NoStatementError, read_statement
from pipeline.domain.change_sentences import explain_difference
from pipeline.domain.changes import ChangeExplanation
from pipeline.domain.changes_cells import PriceRange, UsageGroup

# A frozen statement is the lines up to its cut-off (R10.3).
_GROUPS = """
WITH
    if(quantity > 0, overage, cost_charged_pico != 0 OR charge_pico != 0) AS paid_units,
    paid_units > 0 AS is_paid,
    cost_charged_pico > 0 AS has_cost,
    intDiv(toInt256(charge_pico - surcharge_pico), if(is_paid, toInt256(paid_units), 1)) AS unit_price,
    intDiv(toInt256(margin_pico) * 1000000, if(has_cost, toInt256(cost_charged_pico), 1)) AS margin_share
SELECT
    workspace, feature, unit, model, class, plan, plan_version, kind, late, quantity > 0 AS counted,
    count(), countIf(cost_charged_pico != 0 OR charge_pico != 0),
    sum(quantity), sum(included + granted), sum(overage), sum(blocked),
    sum(input_tokens + cached_input_tokens + output_tokens),
    sum(toInt256(cost_charged_pico)), sum(toInt256(surcharge_pico)), sum(toInt256(charge_pico)),
    minIf(unit_price, is_paid), maxIf(unit_price, is_paid), countIf(is_paid),
    minIf(margin_share, has_cost), maxIf(margin_share, has_cost), countIf(has_cost)
FROM usage.usage_lines FINAL
WHERE customer = {customer:String} AND app = {app:String} AND period = {period:Date} AND seq <= {cut_off:UInt64}
GROUP BY workspace, feature, unit, model, class, plan, plan_version, kind, late, counted
"""
_CUT_OFF = """
SELECT cut_off FROM usage.closings FINAL
WHERE customer = {customer:String} AND app = {app:String} AND period = {period:Date}
"""
_BEFORE = """
SELECT toString(max(period)) FROM usage.usage_lines FINAL
WHERE customer = {customer:String} AND app = {app:String} AND period < {period:Date}
HAVING count() > 0
"""
_NO_CUT_OFF = (1 << 64) - 1


def explain_change(
    client: Client, customer: str, app: str, period: str, against: str | None = None
) -> ChangeExplanation:
    """Return why the statement of a period differs from that of another, by default the one before that has lines.

    A period without lines to compare with counts as nothing, and a note says so.
    Raises NoStatementError when `period` has no lines, or one of the two is no date.
    """
    period, against = _day(period), None if against is None else _day(against)
    new = _groups(client, customer, app, period)
    if not new:
        read_statement(client, customer, app, period)  # raises, and says what there is
    if against is None:
        rows = client.query(_BEFORE, parameters={"customer": customer, "app": app, "period": period}).result_rows
        against = rows[0][0] if rows else None
    old = [] if against is None else _groups(client, customer, app, against)
    return explain_difference(customer, app, period, against, old, new)


def _groups(client: Client, customer: str, app: str, period: str) -> list[UsageGroup]:
    parameters = {"customer": customer, "app": app, "period": period}
    closed = client.query(_CUT_OFF, parameters=parameters).result_rows
    cut_off = closed[0][0] if closed else _NO_CUT_OFF
    rows = client.query(_GROUPS, parameters={**parameters, "cut_off": cut_off}).result_rows
    return [_group(row) for row in rows]


def _group(row: Sequence[Any]) -> UsageGroup:
    *fields, least, greatest, paid, share_least, share_greatest, with_cost = row
    unit_price = PriceRange(least, greatest) if paid else None
    margin_share = PriceRange(share_least, share_greatest) if with_cost else None
    return UsageGroup(*(*fields, unit_price, margin_share))


def _day(name: str) -> str:
    try:
        return date.fromisoformat(name).isoformat()
    except ValueError:
        raise NoStatementError(
            f"{name!r} is no period: a period is named by its first day, such as 2026-11-01"
        ) from None

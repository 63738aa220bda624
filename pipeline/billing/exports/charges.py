"""The charges of a statement, read from ClickHouse."""

from clickhouse_connect.driver.client import Client

from pipeline.billing.exports.document import Charge
from pipeline.domain.statements import Statement

CHARGES_MAX = 500_000
_CHARGES = """
SELECT
    toString(toDate(posted_at)) AS day, feature, unit, workspace, deployment, environment, model, kind, late,
    plan, plan_version, catalog,
    count(),
    sum(if(kind = 'usage', quantity, 0)), sum(included), sum(granted), sum(overage), sum(blocked),
    sum(input_tokens), sum(cached_input_tokens), sum(output_tokens),
    toString(sum(toInt256(surcharge_pico))), toString(sum(toInt256(charge_pico)))
FROM usage.usage_lines FINAL
WHERE customer = {customer:String} AND app = {app:String} AND period = {period:Date}
GROUP BY day, feature, unit, workspace, deployment, environment, model, kind, late, plan, plan_version, catalog
ORDER BY day, feature, unit, workspace, deployment, environment, model, kind, late, plan, plan_version, catalog
LIMIT {most:UInt64}
"""


class TooManyChargesError(Exception):
    """A statement has more charges than one export may hold; the message says what to do."""


def read_charges(client: Client, statement: Statement) -> tuple[Charge, ...]:
    """Return the charges that a statement is the sum of. Raises TooManyChargesError."""
    parameters = {
        "customer": statement.customer,
        "app": statement.app,
        "period": statement.period,
        "most": CHARGES_MAX + 1,
    }
    rows = client.query(_CHARGES, parameters=parameters).result_rows
    if len(rows) > CHARGES_MAX:
        raise TooManyChargesError(
            f"the statement has more than {CHARGES_MAX:,} charges: read them with SQL from usage.lines_v1"
        )
    return tuple(Charge._make([*row[:8], bool(row[8]), *row[9:-2], int(row[-2]), int(row[-1])]) for row in rows)

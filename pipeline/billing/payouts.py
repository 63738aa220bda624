"""Builders' payouts, read from ClickHouse (R8.2)."""

from clickhouse_connect.driver.client import Client

from pipeline.domain.catalog import Catalog
from pipeline.domain.payouts import Payout, payout_of

_EARNINGS = """
SELECT builder, formatDateTime(posted_at, '%Y-%m') AS month, toString(sum(toInt256(builder_earnings_pico)))
FROM usage.usage_lines FINAL
GROUP BY builder, month
ORDER BY builder, month
"""


def read_payouts(client: Client, catalog: Catalog) -> list[Payout]:
    """Return the payout of every builder and calendar month with lines."""
    return [
        payout_of(builder, month, int(earnings), catalog.platform_fee_percent_pico)
        for builder, month, earnings in client.query(_EARNINGS).result_rows
    ]

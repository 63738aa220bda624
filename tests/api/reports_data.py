"""Lines of two customers and two builders' apps in ClickHouse, for the report routes."""

from pipeline.sink.migrations import migrate
from tests.sink.support import a_line, client_of, insert, priced

PERIOD = "2026-11-01"
ACME_HELPDESK = [
    a_line("acme", 1, quantity=3, overage=3, workspace="legal", **priced(10**11, 3 * 10**10)),
    a_line("acme", 2, workspace="sales", **priced(4 * 10**9, 10**9)),
    a_line("acme", 4, workspace="sales", feature="search", unit="page", **priced(7 * 10**12, 10**12, 10**11)),
]
ACME_INSIGHTS = [a_line("acme", 3, app="insights", builder="brightwater", plan="deep", **priced(5 * 10**12, 10**12))]
GLOBEX_INSIGHTS = [
    a_line("globex", 1, app="insights", builder="brightwater", plan="deep", **priced(9 * 10**12, 2 * 10**12))
]
LINES = [*ACME_HELPDESK, *ACME_INSIGHTS, *GLOBEX_INSIGHTS]


def fill_clickhouse(address: str) -> None:
    """Make the tables of a ClickHouse and insert the lines."""
    client = client_of(address)
    migrate(client)
    insert(client, LINES)
    client.close()

"""The queries of docs/sql.md run, and what deploy/clickhouse has for a server is ClickHouse's SQL."""

import re
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

ROOT = Path(__file__).resolve().parents[2]
QUERIES = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "sql.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_a_query_of_the_document_runs(store: Client, query: str) -> None:
    """Each is answered by the tables as they are migrated."""
    assert store.command(f"EXPLAIN {query}")
    store.query(query)


def test_every_view_is_documented(store: Client) -> None:
    """The document names all of them."""
    views = {
        row[0]
        for row in store.query(
            "SELECT name FROM system.tables WHERE database = 'usage' AND name LIKE '%\\_v1'"
        ).result_rows
    }

    assert {view for view in views if f"`{view}`" not in (ROOT / "docs" / "sql.md").read_text()} == set()

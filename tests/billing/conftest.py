"""Empty tables for each test of billing."""

from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.sink.migrations import migrate
from tests.sink.support import client_of


@pytest.fixture
def store(clickhouse: str) -> Iterator[Client]:
    """Give a client of a ClickHouse whose usage tables are there and empty."""
    client = client_of(clickhouse)
    migrate(client)
    client.command("TRUNCATE TABLE usage.usage_lines")
    client.command("TRUNCATE TABLE usage.sink_positions")
    yield client
    client.close()

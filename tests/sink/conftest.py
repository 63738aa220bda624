"""An empty broker of its own for each test of the sink, which runs on every broker at hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from clickhouse_connect.driver.client import Client

from pipeline.settings import Settings, load_settings
from tests.fixtures.brokers import BROKERS, broker_of_kind
from tests.sink.support import Feed


@pytest_asyncio.fixture(params=BROKERS)
async def feed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Feed]:
    """Give a broker with empty topics."""
    server = await broker_of_kind(request.param, tmp_path / "broker").started()
    try:
        feed = Feed(server.address)
        await feed.open()
        yield feed
        await feed.close()
    finally:
        server.kill()


@pytest.fixture
def settings(feed: Feed, clickhouse: str, store: Client) -> Settings:  # noqa: ARG001 - the tables must be there
    """Give the settings of a sink that inserts soon."""
    return load_settings(kafka=feed.address, clickhouse=clickhouse, sink_wait_ms_max=30)

"""A broker of its own for each test of the sink."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from clickhouse_connect.driver.client import Client

from pipeline.settings import Settings, load_settings
from tests.fixtures.servers import broker_server
from tests.sink.support import Feed


@pytest_asyncio.fixture
async def feed(tmp_path: Path) -> AsyncIterator[Feed]:
    """Give a broker with empty topics."""
    server = await broker_server(tmp_path / "broker").started()
    feed = Feed(server.address)
    await feed.open()
    yield feed
    await feed.close()
    await asyncio.to_thread(server.stop)


@pytest.fixture
def settings(feed: Feed, clickhouse: str, store: Client) -> Settings:  # noqa: ARG001 - the tables must be there
    """Give the settings of a sink that inserts soon."""
    return load_settings(kafka=feed.address, clickhouse=clickhouse, sink_wait_ms_max=30)

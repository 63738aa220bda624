"""A broker and topics of their own for each test of the stream."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.fixtures.servers import broker_server
from tests.stream.harness import Stream, open_stream


@pytest_asyncio.fixture
async def stream(tmp_path: Path) -> AsyncIterator[Stream]:
    """Yield empty topics, and the means to send, to run workers and to read."""
    server = await broker_server(tmp_path / "broker").started()
    try:
        async with open_stream(server.address, tmp_path) as opened:
            yield opened
    finally:
        server.stop()

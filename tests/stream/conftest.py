"""An empty broker and topics of their own for each test of the stream, which runs on every broker at hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fixtures.brokers import BROKERS, broker_of_kind
from tests.stream.harness import Stream, open_stream


@pytest_asyncio.fixture(params=BROKERS)
async def stream(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stream]:
    """Yield empty topics, and the means to send, to run workers and to read."""
    server = await broker_of_kind(request.param, tmp_path / "broker").started()
    try:
        async with open_stream(server.address, tmp_path) as opened:
            yield opened
    finally:
        server.kill()

from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from pipeline.settings import Settings, load_settings
from pipeline.stream.topics import ensure_topics
from tests.fixtures.servers import broker_server


@pytest.fixture(scope="session")
def alerts_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a broker of these tests alone: take customers and targets of your own."""
    server = broker_server(tmp_path_factory.mktemp("alerts") / "broker").start()
    yield server.address
    server.stop()


@pytest_asyncio.fixture
async def settings(alerts_broker: str, tmp_path: Path) -> Settings:
    """Return settings that try again soon; topics are there, and each test has groups of its own."""
    made = load_settings(
        kafka=alerts_broker, partitions=2, alerts_group=tmp_path.name, alerts_retry_ms=20, alerts_retry_ms_max=100
    )
    await ensure_topics(made)
    return made

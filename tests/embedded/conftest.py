"""What the tests of any broker share."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient


@pytest.fixture
def bootstrap(any_broker: str) -> str:
    """Return the bootstrap address of each broker at hand."""
    return any_broker


@pytest_asyncio.fixture
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Give a client that makes topics."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    yield client
    await client.close()

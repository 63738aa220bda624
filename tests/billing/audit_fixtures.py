"""The broker and ClickHouse of the audit's tests: fed once, ClickHouse filled anew for every test."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from tests.billing.audit_support import Audited
from tests.fixtures.servers import broker_server
from tests.sink.support import client_of

SEED = 4
EVENTS = 400


@contextmanager
def feeding(clickhouse: str, folder: Path, events: int, grants_late_ms: int = 0) -> Iterator[Audited]:
    """Run a broker with a journal, and with what a worker made of it."""
    server = broker_server(folder / "broker").start()
    client = client_of(clickhouse)
    try:
        audited = Audited(server.address, clickhouse, client, folder)
        audited.feed(SEED, events, grants_late_ms)
        yield audited
    finally:
        client.close()
        server.stop()


@pytest.fixture(scope="session")
def fed(clickhouse: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    """Give a journal and what a worker made of it, in Kafka: to be read only."""
    with feeding(clickhouse, tmp_path_factory.mktemp("audited"), EVENTS) as audited:
        yield audited


@pytest.fixture
def fed_alone(clickhouse: str, store: Client, tmp_path: Path) -> Iterator[Audited]:  # noqa: ARG001
    """Give the same on a broker of the test's own, and in ClickHouse."""
    with feeding(clickhouse, tmp_path, EVENTS // 2) as audited:
        audited.fill()
        yield audited


@pytest.fixture
def unmerged(audited: Audited) -> Iterator[Audited]:
    """Give the same while ClickHouse merges nothing, so that copies stay as they are."""
    audited.client.command("SYSTEM STOP MERGES usage.usage_lines")
    yield audited
    audited.client.command("SYSTEM START MERGES usage.usage_lines")


@pytest.fixture
def audited(fed: Audited, store: Client) -> Audited:  # noqa: ARG001 - the tables must be there
    """Give a sound journal in Kafka and ClickHouse, to be damaged."""
    fed.fill()
    return fed

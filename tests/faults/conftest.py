"""The servers that the tests of the harness share."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.rig import Servers
from tests.fixtures.brokers import broker_of_kind


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of all rounds."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def embedded_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Give a ClickHouse, and an embedded broker that is a new one in each round."""
    servers = Servers("embedded", tmp_path_factory.mktemp("embedded"))
    yield servers
    servers.kill()


@pytest.fixture(scope="session")
def apache_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Give a ClickHouse, and Apache Kafka where `make kafka` has been."""
    broker_of_kind("apache", tmp_path_factory.mktemp("probe") / "broker")  # skips where it is not to be had
    servers = Servers("apache", tmp_path_factory.mktemp("apache"))
    yield servers
    servers.kill()


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    """Give a runner for a round."""
    with asyncio.Runner() as runner:
        yield runner

"""A collector for each test."""

from collections.abc import Iterator

import pytest

from tests.sdk.collector import Collector


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Give a collector that accepts everything until it is told otherwise."""
    collector = Collector()
    yield collector
    collector.stop()

"""Gathering blocks while the group deals out its partitions anew."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from pipeline.settings import load_settings
from pipeline.sink.run import Sink
from tests.sink.support import a_line, ndjson

pytestmark = pytest.mark.asyncio

PLACE = TopicPartition("usage.lines", 0)


class RevokedWhileGathering:
    """A consumer that has handed over a message when its partition is taken away, and the group is not dealt out yet."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._calls = 0
        self._position = 1

    def assignment(self) -> set[TopicPartition]:
        return {PLACE}

    def highwater(self, _: TopicPartition) -> int:
        return 1

    async def position(self, _: TopicPartition) -> int:
        return self._position

    async def getmany(self, *, timeout_ms: int) -> dict[TopicPartition, list[Any]]:  # noqa: ARG002 - aiokafka's name
        self._calls += 1
        if self._calls == 1:
            message = SimpleNamespace(
                topic=PLACE.topic, partition=0, offset=0, value=ndjson([a_line("acme", 1)]), headers=()
            )
            return {PLACE: [message]}
        if self._calls == 2:
            self._sink._assignment.on_partitions_revoked({PLACE})
        else:  # dealt out anew, from what is committed
            self._position = 0
            self._sink.stop()
        return {}


@pytest.mark.rule("R7.2")
async def test_positions_behind_what_was_dropped_are_not_committed() -> None:
    """Lines that were fetched under an assignment that is over are dropped, and the place behind them is not taken for done."""
    sink = Sink(load_settings(sink_wait_ms_max=60_000))

    block = await sink._gather(RevokedWhileGathering(sink))

    assert block is None

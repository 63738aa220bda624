"""What a sink says when it is asked: its gauges, and whether it works."""

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.observe.counters import Counters

ASK_S_MAX = 2.0
"""How long Kafka may take to say where its topics end."""


class SinkHealth:
    """Asks Kafka how far the sink is behind; `done` says, as it changes, up to where partitions are in ClickHouse."""

    def __init__(self, counters: Counters, done: Mapping[TopicPartition, int]) -> None:
        self._counters = counters
        self._done = done
        self.consumer: AIOKafkaConsumer | None = None

    async def faults(self) -> list[str]:
        """Return what keeps the sink from working: it waits for ClickHouse or Kafka, or has no partitions."""
        return [] if self._places() else ["no partition is assigned; the log says whether ClickHouse or Kafka is away"]

    async def refresh(self) -> None:
        """Bring the gauges up to date; while Kafka does not answer there is no lag, rather than an old one."""
        self._counters.level("sink_partitions", len(self._places()))
        try:
            async with asyncio.timeout(ASK_S_MAX):
                lag = await self._lag()
        except (KafkaError, TimeoutError):
            self._counters.level("sink_lag_records", None)
            return
        self._counters.level("sink_lag_records", lag)

    def _places(self) -> list[TopicPartition]:
        return [] if self.consumer is None else sorted(self.consumer.assignment())

    async def _lag(self) -> int:
        places = self._places()
        if self.consumer is None or not places:
            return 0
        ends = await self.consumer.end_offsets(places)
        done = {place: self._done.get(place) for place in places}
        for place in [place for place, offset in done.items() if offset is None]:
            done[place] = await self.consumer.committed(place)
        return sum(max(0, ends[place] - (done[place] or 0)) for place in places)

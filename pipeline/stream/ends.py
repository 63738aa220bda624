"""Fresh end offsets, many askers sharing one request."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.settings import Settings
from pipeline.settings.clients import consumer_arguments


class LogEnds(NamedTuple):
    """Where logs ended."""

    asked_at_s: float
    """time.monotonic() before the request was sent: what was in a log by then is below its end."""
    offsets: Mapping[TopicPartition, int]


class EndOffsets:
    """A small client of its own: Faust's consumer thread may be waiting for records."""

    def __init__(self, settings: Settings, isolation_level: str = "read_committed") -> None:
        self._arguments = consumer_arguments(settings) | {"isolation_level": isolation_level}
        self._client: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []
        self._waiting: asyncio.Task[LogEnds] | None = None
        self._asking = asyncio.Lock()

    async def start(self) -> None:
        """Connect to Kafka."""
        self._client = AIOKafkaConsumer(**self._arguments)
        await self._client.start()

    async def stop(self) -> None:
        """Disconnect."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._client is not None:
            await self._client.stop()

    def watch(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Set the partitions that every request asks for."""
        self._partitions = [TopicPartition(*partition) for partition in partitions]

    async def fresh(self) -> LogEnds:
        """Return the ends by a request that is sent after this call: one under way may be too old."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._ask())
        return await asyncio.shield(self._waiting)  # an asker that gives up must not take the others' answer away

    async def _ask(self) -> LogEnds:
        async with self._asking:
            self._waiting = None  # who comes now needs a request of its own
            if self._client is None:
                raise RuntimeError("the client of the end offsets is not started")
            asked_at_s = time.monotonic()
            return LogEnds(asked_at_s, await self._client.end_offsets(self._partitions))

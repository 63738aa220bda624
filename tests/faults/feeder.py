"""Feeding a journal while everything else breaks: in order, idempotently, grants fenced by acknowledgements."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.domain.records import GRANTS_TOPIC
from tests.faults.journal import Entry, of_partition

REQUEST_BYTES_MAX = 8 << 20
IN_FLIGHT_MAX = 50


class Feeder:
    """Sends a journal's partitions side by side, each in its order (decisions/0002).

    Before a grant everything of its partition is acknowledged, and the grant before what follows: so the logs tell the
    order. Kafka's client repeats what was not acknowledged; what it gives up is noted, and the log decides.
    """

    def __init__(self, kafka: str, entries: list[Entry], partitions: int, seed: int, feed_s: float) -> None:
        self._kafka = kafka
        self._entries = entries
        self._partitions = partitions
        self._seed = seed
        self._feed_s = feed_s
        self.sent = 0
        self.acknowledged: dict[TopicPartition, int] = {}
        """The last offset that is acknowledged."""
        self.given_up: list[str] = []
        """Sends whose outcome is unknown."""

    @property
    def progress(self) -> float:
        """Return the share of the journal that was sent."""
        return self.sent / len(self._entries)

    async def feed(self, until_progress: float = 1.0) -> None:
        """Send the next of the journal, up to a share of it; return when all of that is acknowledged."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka,
            acks="all",
            enable_idempotence=True,
            max_request_size=REQUEST_BYTES_MAX,
            retry_backoff_ms=50,
        )
        await _connected(producer.start)
        stop = round(len(self._entries) * until_progress)
        begun, todo = self.sent, self._entries[self.sent : stop]
        try:
            await asyncio.gather(*(self._feed(producer, todo, number) for number in range(self._partitions)))
        finally:
            await producer.stop()
        assert self.sent == begun + len(todo)

    async def _feed(self, producer: AIOKafkaProducer, todo: list[Entry], partition: int) -> None:
        rng = Random(f"{self._seed} {partition}")
        entries = of_partition(todo, partition)
        pause_s = self._feed_s / max(1, len(of_partition(self._entries, partition)))
        waiting: list[asyncio.Future[Any]] = []
        for entry in entries:
            is_grant = entry.topic == GRANTS_TOPIC
            if is_grant or len(waiting) >= IN_FLIGHT_MAX:
                await self._acknowledge(waiting)
            waiting.append(await self._send(producer, entry))
            if is_grant:
                await self._acknowledge(waiting)
            self.sent += 1
            if pause_s:
                await asyncio.sleep(rng.expovariate(1 / pause_s))
        await self._acknowledge(waiting)

    async def _send(self, producer: AIOKafkaProducer, entry: Entry) -> asyncio.Future[Any]:
        sent: asyncio.Future[Any] = await _connected(
            lambda: producer.send(
                entry.topic,
                entry.value,
                key=entry.key,
                partition=entry.partition,
                timestamp_ms=entry.timestamp_ms,
                headers=list(entry.headers),
            )
        )
        return sent

    async def _acknowledge(self, waiting: list[asyncio.Future[Any]]) -> None:
        for future in waiting:
            try:
                made = await future
            except KafkaError as failure:
                self.given_up.append(repr(failure))
            else:
                self.acknowledged[TopicPartition(made.topic, made.partition)] = made.offset
        waiting.clear()


async def _connected(attempt: Callable[[], Any]) -> Any:
    """Repeat an attempt while the broker is away."""
    while True:
        try:
            return await attempt()
        except KafkaError as failure:
            if not failure.retriable:
                raise
            await asyncio.sleep(0.2)

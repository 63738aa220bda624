"""Closings and payouts from Kafka to ClickHouse: few records, of which the first of an id counts, however often they come."""

import asyncio
import json
import logging
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.domain.records import CLOSINGS_TOPIC, PAYOUTS_TOPIC
from pipeline.settings import Settings
from pipeline.settings.clients import consumer_arguments
from pipeline.sink.flush import persist
from pipeline.sink.store import LineStore, Refused

log = logging.getLogger(__name__)

TABLES = {CLOSINGS_TOPIC: "usage.closings", PAYOUTS_TOPIC: "usage.payouts"}
_WAIT_MS = 1_000
_PAUSE_S = 1.0


class FactKeeper:
    """Copies the topics of TABLES until stopped: insert, then commit."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop; what is not committed is inserted again by the next sink."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._copy()
            except (KafkaError, OSError) as error:
                log.warning("closings and payouts wait for Kafka: %r", error)
            await asyncio.sleep(_PAUSE_S)

    async def _copy(self) -> None:
        store = LineStore(self._settings)
        consumer = AIOKafkaConsumer(
            *TABLES,
            **consumer_arguments(self._settings),
            client_id="usage-sink-facts",
            group_id=f"{self._settings.sink_group}-facts",
            auto_offset_reset="earliest",
            max_poll_interval_ms=2**31 - 1,  # ClickHouse may be away for long
        )
        try:
            await consumer.start()
            while True:
                fetched = await consumer.getmany(timeout_ms=_WAIT_MS)
                for place, records in fetched.items():
                    await self._insert(store, place, records)
                if fetched:
                    await consumer.commit()
        finally:
            await consumer.stop()
            await store.close()

    async def _insert(self, store: LineStore, place: TopicPartition, records: list[Any]) -> None:
        """Insert records one by one: one that ClickHouse refuses keeps no other out, and stays in Kafka."""
        for record in records:
            try:
                row = json.loads(record.value) | {"kafka_partition": place.partition, "kafka_offset": record.offset}
                await persist("ClickHouse", partial(store.insert_row, TABLES[place.topic], row))
            except (ValueError, TypeError, Refused):
                log.exception("%s/%d offset %d is not stored", place.topic, place.partition, record.offset)

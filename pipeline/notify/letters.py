"""Alerts that a target will never take go to `usage.dead-letter`, acknowledged, with code `undeliverable`."""

import asyncio

from aiokafka import AIOKafkaProducer, ConsumerRecord

from pipeline.domain.records import DEAD_LETTER_TOPIC
from pipeline.notify.notices import ALERT_BYTES_MAX, TARGET_HEADER
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments

UNDELIVERABLE = "undeliverable"


class Undeliverables:
    """Writes what could not be delivered; connects at the first one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def write(self, record: ConsumerRecord, target: str, reason: str) -> None:
        """Write an alert that a target has not got, and await the acknowledgement. Raises KafkaError."""
        producer = await self._started()
        value = record.value or b""
        headers = [
            ("code", UNDELIVERABLE.encode()),
            ("message", reason.encode(errors="replace")),
            ("source-topic", record.topic.encode()),
            ("source-partition", b"%d" % record.partition),
            ("source-offset", b"%d" % record.offset),
            ("source-timestamp", b"%d" % record.timestamp),
            (TARGET_HEADER, target.encode()),
        ]
        if len(value) > ALERT_BYTES_MAX:
            headers.append(("cut-from", b"%d" % len(value)))
        await producer.send_and_wait(DEAD_LETTER_TOPIC, value[:ALERT_BYTES_MAX], key=record.key, headers=headers)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **kafka_arguments(self._settings), client_id="usage-alerts", acks="all", enable_idempotence=True
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

"""The topic `access.keys`: read to its ends, followed, written and acknowledged."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.access.keys import ApiKey, key_record, parse_key_record
from pipeline.access.ring import KeyRing
from pipeline.domain.records import KEYS_TOPIC
from pipeline.settings import Settings
from pipeline.settings.clients import consumer_arguments, kafka_arguments

WRITE_S_MAX = 10.0
READ_S_MAX = 30.0
_POLL_MS = 1_000
_PAUSE_FIRST_S = 0.2
_PAUSE_S_MAX = 5.0

log = logging.getLogger(__name__)


class KeysUnavailableError(Exception):
    """The topic of the keys is not there; the message says what to do."""


class KeyFollower:
    """Keeps a ring up to date: reads all of the topic, then every change as it comes."""

    def __init__(self, settings: Settings, ring: KeyRing) -> None:
        self._settings = settings
        self._ring = ring
        self._task: asyncio.Task[None] | None = None
        self.fault: str | None = "the API keys are not read yet"
        """Why the keys are not followed at the moment."""
        self.read = asyncio.Event()
        """Set once the keys are read to their end for the first time."""

    async def start(self) -> None:
        """Begin to read; the ring refuses everything until that is done."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause_s = _PAUSE_FIRST_S
        while True:
            try:
                await self._follow()
            except (KafkaError, KeysUnavailableError, OSError) as error:
                self.fault = f"the API keys cannot be read: {str(error) or type(error).__name__}"
                log.warning("%s", self.fault)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_S_MAX)

    async def _follow(self) -> None:
        """Read from the beginning, hand the keys to the ring, then go on for as long as Kafka lets us."""
        consumer = await open_consumer(self._settings)
        try:
            keys: dict[str, ApiKey | None] = {}
            await _read_to_ends(consumer, keys)
            self._ring.follow(keys)
            self.fault = None
            self.read.set()
            log.info("%d API keys read", len(keys))
            while True:
                _apply(await consumer.getmany(timeout_ms=_POLL_MS), keys)
        finally:
            await consumer.stop()


async def read_keys(settings: Settings) -> dict[str, ApiKey]:
    """Return all keys by id, as they are now. Raises KeysUnavailableError, KafkaError, TimeoutError."""
    async with asyncio.timeout(READ_S_MAX):
        consumer = await open_consumer(settings)
        try:
            keys: dict[str, ApiKey | None] = {}
            await _read_to_ends(consumer, keys)
        finally:
            await consumer.stop()
    return {identity: key for identity, key in keys.items() if key is not None}


async def write_key(settings: Settings, key: ApiKey) -> None:
    """Write a key, made or revoked, and return once Kafka has acknowledged it. Raises KafkaError, TimeoutError."""
    await write_record(settings, KEYS_TOPIC, *key_record(key))


async def write_record(settings: Settings, topic: str, key: bytes, value: bytes) -> None:
    """Write one record and return once Kafka has acknowledged it. Raises KafkaError, TimeoutError."""
    producer = AIOKafkaProducer(**kafka_arguments(settings), acks="all", enable_idempotence=True)
    async with asyncio.timeout(WRITE_S_MAX):
        try:
            await producer.start()
            await producer.send_and_wait(topic, value, key=key)
        finally:
            await _abandon(producer.stop)


async def _abandon(stop: Callable[[], Any]) -> None:
    """Stop a client, but not for ever: one with something unsent waits for its broker."""
    stopping = asyncio.ensure_future(stop())
    done, _ = await asyncio.wait({stopping}, timeout=1.0)
    if not done:
        stopping.cancel()


async def open_consumer(settings: Settings) -> AIOKafkaConsumer:
    """Return a consumer at the beginning of every partition of the topic."""
    partitions = await _partitions(settings)
    consumer = AIOKafkaConsumer(**consumer_arguments(settings), auto_offset_reset="none")
    try:
        await consumer.start()
        consumer.assign(partitions)
        for partition, offset in (await consumer.beginning_offsets(partitions)).items():
            consumer.seek(partition, offset)
    except BaseException:
        await consumer.stop()
        raise
    return consumer


async def _partitions(settings: Settings) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(**kafka_arguments(settings))
    try:
        await admin.start()
        if KEYS_TOPIC not in await admin.list_topics():
            raise KeysUnavailableError(f"no topic {KEYS_TOPIC}: create the topics with `usage topics`")
        described = await admin.describe_topics([KEYS_TOPIC])
    finally:
        await admin.close()
    return [TopicPartition(KEYS_TOPIC, number) for number in range(len(described[0]["partitions"]))]


async def _read_to_ends(consumer: AIOKafkaConsumer, keys: dict[str, ApiKey | None]) -> None:
    """Apply everything that the topic held when asked."""
    ends = await consumer.end_offsets(list(consumer.assignment()))
    while not all([await consumer.position(place) >= end for place, end in ends.items()]):
        _apply(await consumer.getmany(timeout_ms=_POLL_MS), keys)


def _apply(fetched: dict[TopicPartition, list[Any]], keys: dict[str, ApiKey | None]) -> None:
    for records in fetched.values():
        for record in records:
            parsed = parse_key_record(record.key, record.value)
            if parsed is None:
                continue
            identity, key = parsed
            keys[identity] = key
            if key is None and record.value is not None:
                log.error("API key %s cannot be read and is refused: make it again with `usage keys make`", identity)

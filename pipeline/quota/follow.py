"""Following `usage.quota`: all of it from its beginning, then every record as it is committed.

How fresh the board is, is told by what the brokers say, not by what we hope: each answer to a fetch, an empty one too,
carries the partition's last stable offset. Once we are there, the partition is read to its end as of that answer. Of the
instants of all partitions the oldest counts; a broker that does not answer lets the age grow.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from pipeline.domain.records import QUOTA_TOPIC
from pipeline.quota.board import Board

POLL_MS = 200
"""How often we look for answers to fetches that brought nothing."""
POLL_RECORDS_MAX = 500
"""Applied before others get their turn."""
FETCH_WAIT_MS_MAX = 500
"""How long a broker holds an idle fetch."""
_PAUSE_FIRST_S = 0.2
_PAUSE_S_MAX = 5.0

log = logging.getLogger(__name__)


class QuotaUnavailableError(Exception):
    """The topic is not there; the message says what to do."""


class QuotaFollower:
    """Keeps a board up to date from Kafka. `on_turn` is called after each read.

    `arguments` are those that every client of aiokafka takes: brokers, TLS, SASL.
    """

    def __init__(self, arguments: Mapping[str, Any], board: Board, on_turn: Callable[[], None] | None = None) -> None:
        self._arguments = dict(arguments)
        self._board = board
        self._on_turn = on_turn or _do_nothing
        self._task: asyncio.Task[None] | None = None
        self.fault: str | None = "the quota records are not read yet"
        """Why the records are not followed at the moment."""

    async def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self.run())

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def run(self) -> None:
        """Follow for ever; after a fault from the beginning, while the board keeps what it has."""
        from aiokafka.errors import KafkaError  # noqa: PLC0415 - slow to import, and not needed by every host of the SDK

        pause_s = _PAUSE_FIRST_S
        while True:
            try:
                await self._follow()
            except (KafkaError, QuotaUnavailableError, OSError) as error:
                pause_s = _PAUSE_FIRST_S if self.fault is None else min(pause_s * 2, _PAUSE_S_MAX)
                self.fault = f"the quota records cannot be read: {str(error) or type(error).__name__}"
                log.warning("%s", self.fault)
            await asyncio.sleep(pause_s)

    async def _follow(self) -> None:
        consumer = await open_consumer(self._arguments)
        try:
            places = list(consumer.assignment())
            values: dict[str, bytes] = {}
            asked_s = time.monotonic()
            ends = await consumer.end_offsets(places)
            while not all([await consumer.position(place) >= end for place, end in ends.items()]):
                for customer, value in _told(await _fetch(consumer)):
                    if value is None:
                        values.pop(customer, None)
                    else:
                        values[customer] = value
            self._board.replace(values, asked_s)
            log.info("the quota records of %d customers are read", len(values))
            del values
            self.fault = None
            self._on_turn()
            await self._go_on(consumer, places, asked_s)
        finally:
            await consumer.stop()

    async def _go_on(self, consumer: Any, places: list[Any], asked_s: float) -> None:
        marks = {place: _Mark(consumer, place, asked_s) for place in places}
        while True:
            began_s = time.monotonic()
            for customer, value in _told(await _fetch(consumer)):
                self._board.put(customer, value)
            as_of_s = min([await mark.as_of_s(began_s) for mark in marks.values()], default=-inf)
            self._board.read_at(as_of_s)
            self._on_turn()


class _Mark:
    """Up to when a partition is known to be read to its end."""

    def __init__(self, consumer: Any, place: Any, as_of_s: float) -> None:
        self._consumer = consumer
        self._place = place
        self._as_of_s = as_of_s
        self._heard_s = as_of_s
        self._stamp: int | None = None
        """Of the last answer to a fetch: it tells answers apart, no more; the clock of the day may jump."""

    async def as_of_s(self, began_s: float) -> float:
        """Return it; an answer that has come in since the last call came after `began_s`."""
        stamp = self._consumer.last_poll_timestamp(self._place)
        if stamp != self._stamp:
            self._stamp, self._heard_s = stamp, began_s
        stable = self._consumer.last_stable_offset(self._place)
        if stable is not None and await self._consumer.position(self._place) >= stable:
            self._as_of_s = self._heard_s
        return self._as_of_s


async def open_consumer(arguments: Mapping[str, Any]) -> Any:
    """Return a consumer at the beginning of every partition. Raises QuotaUnavailableError, KafkaError."""
    from aiokafka import AIOKafkaConsumer  # noqa: PLC0415

    partitions = await _partitions(arguments)
    consumer = AIOKafkaConsumer(
        **dict(arguments),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=FETCH_WAIT_MS_MAX,
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        for place, offset in (await consumer.beginning_offsets(partitions)).items():
            consumer.seek(place, offset)
    except BaseException:
        await consumer.stop()
        raise
    return consumer


async def _partitions(arguments: Mapping[str, Any]) -> list[Any]:
    from aiokafka import TopicPartition  # noqa: PLC0415
    from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415

    admin = AIOKafkaAdminClient(**dict(arguments))
    try:
        await admin.start()
        if QUOTA_TOPIC not in await admin.list_topics():
            raise QuotaUnavailableError(f"no topic {QUOTA_TOPIC}: create the topics with `usage topics`")
        described = await admin.describe_topics([QUOTA_TOPIC])
    finally:
        await admin.close()
    return [TopicPartition(QUOTA_TOPIC, number) for number in range(len(described[0]["partitions"]))]


async def _fetch(consumer: Any) -> list[Any]:
    fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS_MAX)
    return [record for records in fetched.values() for record in records]


def _told(records: list[Any]) -> list[tuple[str, bytes | None]]:
    """Return whose records these are; what has no customer for a key is nobody's."""
    told = []
    for record in records:
        try:
            told.append(((record.key or b"").decode(), record.value))
        except UnicodeDecodeError:
            log.warning("%s/%d offset %d: the key is no customer", QUOTA_TOPIC, record.partition, record.offset)
    return told


def _do_nothing() -> None:
    """Stand in for a callback."""

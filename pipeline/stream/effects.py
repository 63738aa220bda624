"""Writing the effects of a round to Kafka: outputs, states and source positions in one transaction (DESIGN 4)."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from pipeline.codec.lines import COLUMNS, COLUMNS_HEADER, LineBlock
from pipeline.codec.states import CATALOG_KEY, POSITIONS_KEY, Positions, encode_positions
from pipeline.domain.records import (
    ALERTS_TOPIC,
    CLOSINGS_TOPIC,
    DEAD_LETTER_TOPIC,
    LINES_TOPIC,
    QUOTA_TOPIC,
    STATES_TOPIC,
)
from pipeline.observe.counters import Counters
from pipeline.rating.ledger import DeadLetter, Effects
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments

BATCH_BYTES = 1 << 20
"""A record batch is closed when it has reached this size: larger ones are copied, a dozen times, through memory and not
through the processor's cache."""
BATCH_BYTES_MAX = 15 << 20
"""What a record batch can be; below max.message.bytes of the topics we write (16 MiB)."""
TRANSACTION_MS_MAX = 60_000
"""After which the broker aborts a transaction whose writer is silent, and lets readers go on."""
RECORD_OVERHEAD_BYTES_MAX = 64
"""What a record takes in a batch besides key, value and headers, rounded up."""
KEPT_HEADERS = frozenset({"content-type", "x-usage-import"})

Headers = list[tuple[str, bytes]]


class StateTooLargeError(Exception):
    """The changed state of one customer does not fit into one record batch."""


class OutRecord(NamedTuple):
    """A record to be written."""

    key: bytes | None
    value: bytes | None
    headers: Headers

    def size(self) -> int:
        """Return at most how many bytes it takes in a batch."""
        key, value, headers = self
        size = len(key or b"") + len(value or b"") + RECORD_OVERHEAD_BYTES_MAX
        return size + sum(len(name) + len(value) + 16 for name, value in headers) if headers else size


class PartitionWriter:
    """The producer of one partition: whoever starts it last is its only writer (DESIGN 4, docs/decisions/0005).

    Its transactional id is the partition's. A start fences every earlier owner, and ends what that one left open; then
    all effects of a round appear together or not at all.
    """

    def __init__(self, settings: Settings, counters: Counters, partition: int) -> None:
        self._settings = settings
        self._counters = counters
        self._partition = partition
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect, and shut out whoever wrote to the partition before: a paused worker that does not know yet."""
        self._producer = self._new_producer()
        await self._producer.start()

    def _new_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **kafka_arguments(self._settings),
            transactional_id=f"{self._settings.worker_group}-{self._partition}",
            transaction_timeout_ms=TRANSACTION_MS_MAX,
            acks="all",
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=BATCH_BYTES_MAX,
        )

    async def stop(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def write(self, effects: Effects, positions: Positions) -> None:
        """Write all effects of a round, and up to where the source is done with them, in one transaction.

        Raises KafkaError or TimeoutError when it cannot be said whether they are written: the worker must stop, its
        successor sees.
        """
        try:
            async with asyncio.timeout(
                TRANSACTION_MS_MAX / 1000
            ):  # aiokafka tries some errors again for ever, silently
                await self._begin()
                await asyncio.gather(self._send_outputs(effects), self._send_states(effects, positions))
                await self._commit()
        except TimeoutError as late:
            raise TimeoutError(
                f"Kafka did not take the transaction of partition {self._partition} within {TRANSACTION_MS_MAX / 1000:g} s: is "
                "a partition of usage.lines, usage.states, usage.quota, usage.alerts, usage.dead-letter or billing.closings "
                "without a leader?"
            ) from late
        self._count(effects)

    async def _begin(self) -> None:
        await self._started().begin_transaction()

    async def _commit(self) -> None:
        await self._started().commit_transaction()

    async def _send_outputs(self, effects: Effects) -> None:
        """Send lines, dead letters, alerts, closings and quota records; return when every one is acknowledged."""
        await asyncio.gather(
            self._send(LINES_TOPIC, ([line_record(block)] for block in effects.blocks)),
            self._send(DEAD_LETTER_TOPIC, ([dead_letter_record(letter)] for letter in effects.dead_letters)),
            self._send(ALERTS_TOPIC, ([OutRecord(key, value, [])] for key, value in effects.alerts)),
            self._send(CLOSINGS_TOPIC, ([OutRecord(key, value, [])] for key, value in effects.closings)),
            self._send(QUOTA_TOPIC, ([OutRecord(key, value, [])] for key, value in effects.quotas)),
        )

    async def _send_states(self, effects: Effects, positions: Positions) -> None:
        """Send the changed states, a customer never split over two batches, the positions and the catalog's version."""
        groups = ([OutRecord(key, value, []) for key, value in changed.records] for changed in effects.states)
        last = [OutRecord(POSITIONS_KEY, encode_positions(positions), [])]
        if effects.switched_to is not None:
            last.append(OutRecord(CATALOG_KEY, effects.switched_to.encode(), []))
        await self._send(STATES_TOPIC, chain(groups, [last]))

    async def _send(self, topic: str, groups: Iterable[Sequence[OutRecord]]) -> None:
        """Send groups of records in order, each within one batch, and await the acknowledgements.

        A batch is made while the one before it is under way; more than one waiting aiokafka does not take.
        """
        sent = []
        for batch in self._batches(groups):
            batch.close()
            sent.append(await self._started().send_batch(batch, topic, partition=self._partition))
        await asyncio.gather(*sent)

    def _batches(self, groups: Iterable[Sequence[OutRecord]]) -> Iterator[Any]:
        batch = None
        for group in groups:
            size = sum([record.size() for record in group])
            if size > BATCH_BYTES_MAX:
                raise StateTooLargeError(
                    f"a state's changed parts, {len(group)} from {group[0].key!r} on, take {size} bytes, more than a batch of "
                    f"{BATCH_BYTES_MAX}. Lower worker_round_bytes_max, so that a round changes less"
                )
            if batch is not None and ((filled := batch.size()) >= BATCH_BYTES or filled + size > BATCH_BYTES_MAX):
                yield batch
                batch = None
            if batch is None:
                batch = self._started().create_batch()
            for key, value, headers in group:
                if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                    raise RuntimeError("a record batch has less room than its limit")  # else half a customer is lost
        if batch is not None:
            yield batch

    def _count(self, effects: Effects) -> None:
        counters = self._counters
        counters.add("lines", effects.lines)
        counters.add("alerts", len(effects.alerts))
        counters.add("closings", len(effects.closings))
        counters.add("quotas", len(effects.quotas))
        counters.add("states", sum(len(changed.records) for changed in effects.states))
        counters.add("events", effects.events)
        counters.add("duplicates", effects.duplicates)
        for letter in effects.dead_letters:
            counters.add("rejects", 1, letter.code)

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError("the writer is not started")
        return self._producer


def line_record(block: LineBlock) -> OutRecord:
    """Return the record of usage.lines that carries a block: a JSON array a line, its names in a header."""
    lines = b"%d" % block.lines
    return OutRecord(
        None, block.rows, [("content-type", b"application/x-ndjson"), ("lines", lines), (COLUMNS_HEADER, COLUMNS)]
    )


def dead_letter_record(letter: DeadLetter) -> OutRecord:
    """Return the record of usage.dead-letter: the original bytes, and in headers why and where from (R2.3)."""
    record = letter.record
    headers: Headers = [
        ("code", letter.code.encode()),
        ("message", letter.message.encode(errors="replace")),
        ("source-topic", record.topic.encode()),
        ("source-partition", b"%d" % record.partition),
        ("source-offset", b"%d" % record.offset),
        ("source-timestamp", b"%d" % record.timestamp_ms),
    ]
    if letter.index is not None:
        headers.append(("source-index", b"%d" % letter.index))
    headers += [(name, value) for name, value in record.headers if name.lower() in KEPT_HEADERS and value is not None]
    return OutRecord(record.key, letter.original, headers)

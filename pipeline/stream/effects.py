"""Writing the effects of a round to Kafka: outputs first, then states, every acknowledgement awaited (DESIGN 4)."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from pipeline.observe.counters import Counters
from pipeline.rating.ledger import DeadLetter, Effects
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments
from pipeline.stream.topics import ALERTS_TOPIC, DEAD_LETTER_TOPIC, LINES_TOPIC, STATES_TOPIC

LINES_VALUE_BYTES = 256 << 10
"""A record of usage.lines is closed when it has reached this size."""
BATCH_BYTES_MAX = 15 << 20
"""A record batch; below max.message.bytes of the topics we write (16 MiB)."""
BATCHES_IN_FLIGHT_MAX = 6
"""aiokafka puts a batch of each partition into one request, and brokers refuse one above 100 MiB."""
RECORD_OVERHEAD_BYTES_MAX = 64
"""What a record takes in a batch besides key, value and headers, rounded up."""
VERSION_HEADER = "version"
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
        headers = sum(len(name) + len(value) + 16 for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers + RECORD_OVERHEAD_BYTES_MAX


class EffectWriter:
    """Our own producer: Faust's sends are neither awaited nor kept in order with its commits (EVIDENCE 2)."""

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self._settings = settings
        self._counters = counters
        self._producer: AIOKafkaProducer | None = None
        self._in_flight = asyncio.Semaphore(BATCHES_IN_FLIGHT_MAX)

    async def start(self) -> None:
        """Connect to Kafka."""
        self._producer = AIOKafkaProducer(
            **kafka_arguments(self._settings),
            acks="all",
            enable_idempotence=True,  # a retry after a lost acknowledgement is not written twice or out of order
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=BATCH_BYTES_MAX,
        )
        await self._producer.start()

    async def stop(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def write_outputs(self, partition: int, effects: Effects) -> None:
        """Write lines, dead letters and alerts to the partition; return when every one is acknowledged."""
        sends = [
            self._send(LINES_TOPIC, partition, [[record] for record in line_records(effects.lines)]),
            self._send(DEAD_LETTER_TOPIC, partition, [[dead_letter_record(letter)] for letter in effects.dead_letters]),
            self._send(ALERTS_TOPIC, partition, [[OutRecord(key, value, [])] for key, value in effects.alerts]),
        ]
        await asyncio.gather(*sends)
        self._counters.add("lines", len(effects.lines))
        self._counters.add("alerts", len(effects.alerts))
        for letter in effects.dead_letters:
            self._counters.add("rejects", 1, letter.code)

    async def write_states(self, partition: int, effects: Effects) -> None:
        """Write the changed states to the changelog partition, a customer never split over two batches.

        A batch is appended whole or not at all, so a customer's parts are recovered together or not at all.
        """
        groups = [
            [OutRecord(key, value, [(VERSION_HEADER, b"%d" % changed.version)]) for key, value in changed.records]
            for changed in effects.states
        ]
        for changed, group in zip(effects.states, groups, strict=True):
            size = sum(record.size() for record in group)
            if size > BATCH_BYTES_MAX:
                raise StateTooLargeError(
                    f"customer {changed.customer!r}: {len(group)} changed parts of the state take {size} bytes, more than a batch "
                    f"of {BATCH_BYTES_MAX}. Lower worker_round_bytes_max, so that a round changes less"
                )
        await self._send(STATES_TOPIC, partition, groups)
        self._counters.add("states", sum(len(group) for group in groups))

    async def _send(self, topic: str, partition: int, groups: Iterable[Sequence[OutRecord]]) -> None:
        """Write groups of records in order, each within one batch, and await the acknowledgements."""
        for batch in self._batches(groups):
            batch.close()
            async with self._in_flight:
                await (await self._started().send_batch(batch, topic, partition=partition))

    def _batches(self, groups: Iterable[Sequence[OutRecord]]) -> Iterator[Any]:
        batch = None
        for group in groups:
            if batch is None or batch.size() + sum(record.size() for record in group) > BATCH_BYTES_MAX:
                if batch is not None:
                    yield batch
                batch = self._started().create_batch()
            for key, value, headers in group:
                if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                    raise RuntimeError("a record batch has less room than its limit")  # else half a customer is lost
        if batch is not None:
            yield batch

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError("the writer is not started")
        return self._producer


def line_records(lines: Iterable[bytes]) -> Iterator[OutRecord]:
    """Yield the records of usage.lines that carry these lines: NDJSON, in order."""
    pending: list[bytes] = []
    size = 0
    for line in lines:
        pending.append(line)
        size += len(line) + 1
        if size >= LINES_VALUE_BYTES:
            yield _line_record(pending)
            pending, size = [], 0
    if pending:
        yield _line_record(pending)


def _line_record(lines: list[bytes]) -> OutRecord:
    headers = [("content-type", b"application/x-ndjson"), ("lines", b"%d" % len(lines))]
    return OutRecord(None, b"\n".join(lines), headers)


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

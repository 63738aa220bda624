"""Sending dead letters again: each at most once over all runs, unless told otherwise (docs/dead-letters.md).

What is sent and the mark that it was sent are one transaction, so that no crash comes between them. All runs share one
transactional id: a run that starts ends what an earlier one left open, and shuts out one that still goes on, before it
reads what was marked.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced

from pipeline.domain.records import DEAD_LETTER_TOPIC
from pipeline.intake.dead_letter_log import LetterLog
from pipeline.intake.dead_letters import (
    REPLAYED,
    REPLAYED_TO,
    TARGET_HEADER,
    Filter,
    History,
    Letter,
    Place,
    hopeless,
    impossible,
)
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments

TRANSACTIONAL_ID = "usage-dead-letter-replay"
TRANSACTION_MS_MAX = 30_000
"""After a crash, readers of the topics wait as long for what comes behind an open transaction."""
ABORT_S_MAX = 5
CHUNK_LETTERS = 500
CHUNK_BYTES = 4 << 20
REQUEST_BYTES_MAX = 16 << 20
REPLAYED_FROM = "replayed-from"
"""Header of a record that was sent again: the position of its letter."""
_SINGLE, _BATCH = b"application/cloudevents+json", b"application/cloudevents-batch+json"

_KEPT_HEADERS = frozenset({"content-type", "x-usage-import", "columns", TARGET_HEADER})

Headers = list[tuple[str, bytes]]


class ReplayError(Exception):
    """A replay cannot go on; the message says why. What was sent is marked, so that it can begin anew."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be sent again, and how."""

    wanted: Filter
    limit: int | None = None
    now: bool = False
    """With a new timestamp instead of the source record's."""
    again: bool = False
    """Also what was sent again before."""
    force: bool = False
    """Also what is of no use."""


@dataclass(slots=True)
class Sent:
    """What a replay did, or would do."""

    letters: int = 0
    by_topic: Counter[str] = field(default_factory=Counter)
    by_code: Counter[str] = field(default_factory=Counter)
    already: int = 0
    """Left out since they were sent again before."""
    left_out: Counter[str] = field(default_factory=Counter)
    """By reason."""
    more: bool = False
    """The limit left out others."""

    def add(self, letter: Letter) -> None:
        """Count a letter that is sent."""
        self.letters += 1
        self.by_code[letter.code] += 1
        if letter.source is not None:
            self.by_topic[letter.source.place.topic] += 1


async def choose(
    log: LetterLog, history: History, choice: Choice, sent: Sent, on_progress: Callable[[int], object]
) -> AsyncIterator[Letter]:
    """Yield the letters to be sent, in the order of each partition, and count what is left out."""
    chosen = 0
    now_ms = int(time.time() * 1000)
    async for letters in log.read(on_progress):
        for letter in letters:
            if not choice.wanted.accepts(letter):
                continue
            reason = impossible(letter, log.partitions)
            if reason is None and not choice.force:
                reason = hopeless(letter, now_ms, keep_time=not choice.now)
            if reason is not None:
                sent.left_out[reason] += 1
            elif history.was_replayed(letter) and not choice.again:
                sent.already += 1
            elif choice.limit is not None and chosen >= choice.limit:
                sent.more = True
            else:
                chosen += 1
                yield letter


class Replayer:
    """Sends letters again, a chunk a transaction."""

    def __init__(self, producer: AIOKafkaProducer, *, now: bool) -> None:
        self._producer = producer
        self._now = now

    async def send(self, letters: list[Letter]) -> None:
        """Send letters and mark them, all or none. Raises ReplayError and KafkaError."""
        try:
            async with asyncio.timeout(TRANSACTION_MS_MAX / 1000):
                await self._producer.begin_transaction()
                await self._fill(letters)
                await self._producer.commit_transaction()
        except BaseException as failure:
            await self._abort()
            if isinstance(failure, ProducerFenced):
                raise ReplayError(
                    "another replay was started meanwhile, and goes on instead of this one; or Kafka gave the transaction up "
                    "because it took too long. What was sent is marked: run it again"
                ) from None
            if isinstance(failure, TimeoutError):
                raise ReplayError(
                    f"Kafka did not take {len(letters)} letters within {TRANSACTION_MS_MAX / 1000:g} s. Run it again: "
                    "what was sent is marked, and is not sent twice"
                ) from None
            raise

    async def _abort(self) -> None:
        """Let readers go on; where that fails, they wait until the broker aborts the transaction by itself."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(ABORT_S_MAX):
                await self._producer.abort_transaction()

    async def _fill(self, letters: list[Letter]) -> None:
        """Send letters, then where each of them is."""
        places = await self._acknowledged([self._sending(letter) for letter in letters])
        await self._acknowledged([self._marking(*pair) for pair in zip(letters, places, strict=True)])

    async def _acknowledged(self, records: list[dict[str, Any]]) -> list[Place]:
        """Send records in order, and return where they are."""
        futures = []
        for record in records:
            future = await self._producer.send(**record)
            future.add_done_callback(_note_failure)
            futures.append(future)
        return [Place(made.topic, made.partition, made.offset) for made in await asyncio.gather(*futures)]

    def _sending(self, letter: Letter) -> dict[str, Any]:
        """Return the record that a letter is sent again as."""
        assert letter.source is not None
        return {
            "topic": letter.source.place.topic,
            "value": letter.original,
            "key": letter.key,
            "partition": letter.source.place.partition,
            "timestamp_ms": None if self._now else letter.source_ms,
            "headers": replay_headers(letter),
        }

    def _marking(self, letter: Letter, to: Place) -> dict[str, Any]:
        """Return the record that says of a letter that it was sent: in the partition of what may come of it."""
        headers = [
            ("code", REPLAYED.encode()),
            ("message", f"{letter.position} was sent again as {to}".encode()),
            *[(name, value) for name, value in letter.headers.items() if name.startswith("source-")],
            (REPLAYED_TO, str(to).encode()),
        ]
        return {
            "topic": DEAD_LETTER_TOPIC, "value": b"", "key": letter.key, "partition": to.partition, "headers": headers
        }  # fmt: skip


def _note_failure(future: "asyncio.Future[Any]") -> None:
    """Look at a failure that nobody awaits any more, since another one came first."""
    if not future.cancelled():
        future.exception()


@contextlib.asynccontextmanager
async def open_replayer(settings: Settings, *, now: bool) -> AsyncIterator[Replayer]:
    """Connect, and shut out every earlier replay. Raises KafkaError."""
    producer = AIOKafkaProducer(
        **kafka_arguments(settings),
        client_id="usage-dead-letter",
        transactional_id=TRANSACTIONAL_ID,
        transaction_timeout_ms=TRANSACTION_MS_MAX,
        acks="all",
        max_request_size=REQUEST_BYTES_MAX,
    )
    try:
        await producer.start()
        yield Replayer(producer, now=now)
    finally:
        await producer.stop()


async def replay(
    replayer: Replayer,
    log: LetterLog,
    history: History,
    choice: Choice,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Sent:
    """Send letters again and return what was done. Raises ReplayError, LetterLogError and KafkaError."""
    sent = Sent()
    chunk: list[Letter] = []
    size = 0
    async for letter in choose(log, history, choice, sent, on_progress):
        chunk.append(letter)
        size += len(letter.original)
        if len(chunk) >= CHUNK_LETTERS or size >= CHUNK_BYTES:
            await replayer.send(chunk)
            _count(sent, chunk)
            chunk, size = [], 0
    if chunk:
        await replayer.send(chunk)
        _count(sent, chunk)
    return sent


def _count(sent: Sent, letters: list[Letter]) -> None:
    for letter in letters:
        sent.add(letter)


def replay_headers(letter: Letter) -> Headers:
    """Return the headers of the source record, and where the letter lies.

    An event that came in a batch is sent alone, and says so.
    """
    alone = letter.source is not None and letter.source.event is not None
    headers = [(name, value) for name, value in letter.headers.items() if name.lower() in _KEPT_HEADERS]
    return [
        *[(name, _SINGLE if alone and _media_type(value) == _BATCH else value) for name, value in headers],
        (REPLAYED_FROM, str(letter.place).encode()),
    ]


def _media_type(content_type: bytes) -> bytes:
    return content_type.split(b";")[0].strip().lower()

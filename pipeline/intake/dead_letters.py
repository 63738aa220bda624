"""Dead letters: what was rejected, why, where from, and whether it was sent again (R2.3)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import ConsumerRecord

from pipeline.domain.dedupe import HORIZON_DAYS
from pipeline.domain.instants import DAY_US
from pipeline.domain.records import ALERTS_TOPIC, EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC
from pipeline.domain.rejects import INVALID_FIELD, MALFORMED, TIME_IN_FUTURE, TOO_LARGE, WRONG_KEY

SOURCE_TOPICS = (EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC, ALERTS_TOPIC)
REPLAYED = "replayed"
"""The code of a mark: a record among the dead letters that says of an earlier one that it was sent again."""
REPLAYED_TO = "replayed-to"
"""Header of a mark: the place of the record that was sent."""
TARGET_HEADER = "target"
"""Header of an alert that could not be delivered: to whom."""
_BY_ITS_BYTES = frozenset({MALFORMED, TOO_LARGE, INVALID_FIELD, WRONG_KEY})
"""Codes that depend on the record alone: the same bytes are rejected again."""
_HORIZON_MS = HORIZON_DAYS * DAY_US // 1000

OPEN = "open"
REJECTED_AGAIN = "rejected again"


class Place(NamedTuple):
    """Where a record lies in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.topic} {self.partition}:{self.offset}"


class Source(NamedTuple):
    """What was rejected: a record, or one of the events in it."""

    place: Place
    event: int | None
    """Which one of the record, from 0; None for the whole record."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of `usage.dead-letter`, or a mark in it."""

    place: Place
    written_ms: int
    """When it was rejected."""
    key: bytes | None
    code: str
    message: str
    source: Source | None
    """None when the letter does not say."""
    source_ms: int
    """Timestamp of the source record; -1 when the letter does not say."""
    headers: Mapping[str, bytes]
    original: bytes
    replayed_to: Place | None = None
    """Of a mark: the record that was sent."""

    @property
    def position(self) -> str:
        """Return PARTITION:OFFSET."""
        return f"{self.place.partition}:{self.place.offset}"

    @property
    def customer(self) -> str | None:
        """Return the key of the source record, which is the customer unless that was what is wrong."""
        return None if self.key is None else self.key.decode(errors="backslashreplace")


def letter_of(record: ConsumerRecord) -> Letter:
    """Return the letter in a record; what is missing in it is left out, never a reason to stop."""
    headers = dict(record.headers)
    topic, partition, offset = (headers.get(f"source-{name}", b"") for name in ("topic", "partition", "offset"))
    index, source_ms = headers.get("source-index", b""), headers.get("source-timestamp", b"")
    source = None
    if topic and partition.isdigit() and offset.isdigit():
        place = Place(_text(topic), int(partition), int(offset))
        source = Source(place, int(index) if index.isdigit() else None)
    return Letter(
        place=Place(record.topic, record.partition, record.offset),
        written_ms=record.timestamp,
        key=record.key,
        code=_text(headers.get("code", b"")),
        message=_text(headers.get("message", b"")),
        source=source,
        source_ms=int(source_ms) if source_ms.isdigit() else -1,
        headers=headers,
        original=record.value or b"",
        replayed_to=_place_in(headers.get(REPLAYED_TO)),
    )


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _place_in(value: bytes | None) -> Place | None:
    topic, _, place = (value or b"").rpartition(b" ")
    partition, _, offset = place.partition(b":")
    return Place(_text(topic), int(partition), int(offset)) if partition.isdigit() and offset.isdigit() else None


@dataclass(slots=True)
class History:
    """What became of letters: made of all of them, in the order of each partition."""

    _replayed: dict[Source, Place] = field(default_factory=dict)
    _sent: dict[Place, Source] = field(default_factory=dict)
    _failed: set[Source] = field(default_factory=set)

    def take(self, letters: Iterable[Letter]) -> None:
        """Note the next letters and marks. A mark stands before what comes of its replay, in the same partition."""
        for letter in letters:
            if letter.source is None:
                continue
            if letter.replayed_to is not None:
                self._replayed[letter.source] = letter.replayed_to
                self._sent[letter.replayed_to] = letter.source
            elif (first := self._sent.get(letter.source.place)) is not None:
                self._failed.add(first)

    def was_replayed(self, letter: Letter) -> bool:
        """Tell whether what a letter holds was sent again."""
        return letter.source in self._replayed

    def status(self, letter: Letter) -> str:
        """Return `open`, `replayed` or `rejected again`: then there is a newer letter, with a status of its own."""
        if letter.source is None or letter.source not in self._replayed:
            return OPEN
        return REJECTED_AGAIN if letter.source in self._failed else REPLAYED


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant; what is None does not narrow."""

    positions: frozenset[tuple[int, int]] | None = None
    codes: frozenset[str] | None = None
    customer: str | None = None
    since_ms: int | None = None
    """Rejected then or later."""
    until_ms: int | None = None
    """Rejected before."""
    source_topic: str | None = None

    def accepts(self, letter: Letter) -> bool:
        """Tell whether a letter is meant; a mark never is."""
        return (
            letter.code != REPLAYED
            and (self.positions is None or letter.place[1:] in self.positions)
            and (self.codes is None or letter.code in self.codes)
            and self.customer in (None, letter.customer)
            and (self.since_ms is None or letter.written_ms >= self.since_ms)
            and (self.until_ms is None or letter.written_ms < self.until_ms)
            and (
                self.source_topic is None
                or (letter.source is not None and letter.source.place.topic == self.source_topic)
            )
        )


def impossible(letter: Letter, partitions: int) -> str | None:
    """Return why a letter cannot be sent again whatever one does, None when it can; topics have so many partitions."""
    if letter.source is None or letter.source.place.topic not in SOURCE_TOPICS or letter.source_ms < 0:
        return "it does not say where it comes from"
    if letter.source.place.partition >= partitions:
        return f"it comes from a partition that is not there: {letter.source.place}"
    if "cut-from" in letter.headers:
        return "its original was too large to be kept whole"
    return None


def hopeless(letter: Letter, now_ms: int, *, keep_time: bool) -> str | None:
    """Return why sending a letter again is of no use, None when it may be.

    `keep_time` says that it would be sent with the timestamp of the source record (docs/dead-letters.md).
    """
    of_worker = letter.source is not None and letter.source.place.topic in (EVENTS_TOPIC, GRANTS_TOPIC)
    if of_worker and letter.code in _BY_ITS_BYTES:
        return f"{letter.code}: the same bytes are rejected again"
    if of_worker and keep_time and letter.code == TIME_IN_FUTURE:
        return f"{letter.code}: with the same timestamp it is rejected again (--now sends it with a new one)"
    if of_worker and keep_time and now_ms - letter.source_ms > _HORIZON_MS:
        return (
            f"older than {HORIZON_DAYS} days: pools of its day may be forgotten (--now sends it with a new timestamp)"
        )
    return None

"""Blocks: the messages of `usage.lines` that go to ClickHouse in one insert, and the positions they make safe."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord, TopicPartition

BLOCK_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of one insert: a block stays one part in ClickHouse, and the sink small."""


Span = tuple[int, int]
"""Offsets of a partition: the first, and that after the last."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one message that are inserted or refused together: the whole message, or one line of it."""

    record: ConsumerRecord
    payload: bytes
    """NDJSON without space around it."""
    rows: int
    line: int | None = None
    """Which line of the message, from 1; None for the whole message."""

    def lines(self) -> list["Piece"]:
        """Return the piece's lines as pieces of their own."""
        return [Piece(self.record, text, 1, line) for line, text in enumerate(self.payload.split(b"\n"), start=1)]

    @property
    def original(self) -> bytes:
        """Return the bytes as they were sent."""
        return self.payload if self.line is not None else self.record.value or b""

    def where(self) -> str:
        """Return where the piece lies in Kafka, for people."""
        place = f"{self.record.topic}/{self.record.partition} offset {self.record.offset}"
        return place if self.line is None else f"{place} line {self.line}"


def whole(record: ConsumerRecord) -> Piece:
    """Return a message as one piece."""
    payload: bytes = (record.value or b"").strip()
    return Piece(record, payload, payload.count(b"\n") + 1)


def spans_of(pieces: Iterable[Piece]) -> dict[TopicPartition, Span]:
    """Return by partition which records pieces are of: first offset, and that after the last."""
    spans: dict[TopicPartition, Span] = {}
    for piece in pieces:
        place = TopicPartition(piece.record.topic, piece.record.partition)
        first, _ = spans.get(place, (piece.record.offset, 0))
        spans[place] = (first, piece.record.offset + 1)
    return spans


def looks_like_lines(payload: bytes) -> bool:
    """Tell whether bytes may be joined with others: one bare bracket would spoil its neighbours."""
    return payload.startswith(b"{") and payload.endswith(b"}")


@dataclass(frozen=True, slots=True)
class Block:
    """What one flush takes to ClickHouse."""

    pieces: tuple[Piece, ...]
    rows: int
    next_offsets: Mapping[TopicPartition, int]
    """Once the pieces are in ClickHouse, everything before these offsets is."""


@dataclass(slots=True)
class Waiting:
    """Messages that were fetched and not flushed yet, in the order of each partition."""

    rows: int = 0
    _pieces: deque[tuple[TopicPartition, Piece]] = field(default_factory=deque)

    @property
    def empty(self) -> bool:
        """Tell whether no message waits."""
        return not self._pieces

    def add(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        """Add what a fetch brought."""
        for partition, records in fetched.items():
            for record in records:
                piece = whole(record)
                self.rows += piece.rows
                self._pieces.append((partition, piece))

    def take(self, rows_max: int) -> Block:
        """Take a block off the head: at least one message, then as many as stay within the limits."""
        taken: list[Piece] = []
        next_offsets: dict[TopicPartition, int] = {}
        rows = size = 0
        while self._pieces:
            partition, piece = self._pieces[0]
            length = len(piece.payload)
            if taken and (rows + piece.rows > rows_max or size + length > BLOCK_BYTES_MAX):
                break
            self._pieces.popleft()
            taken.append(piece)
            rows += piece.rows
            size += length
            next_offsets[partition] = piece.record.offset + 1
        self.rows -= rows
        return Block(tuple(taken), rows, next_offsets)

    def clear(self) -> None:
        """Forget everything: the partitions were taken away."""
        self._pieces.clear()
        self.rows = 0


def joined(pieces: Iterable[Piece]) -> bytes:
    """Return the pieces' bytes as one NDJSON document; nothing is parsed."""
    return b"\n".join(piece.payload for piece in pieces)


def halves(pieces: Sequence[Piece]) -> Iterator[Sequence[Piece]]:
    """Yield the first and the second half."""
    middle = len(pieces) // 2
    yield pieces[:middle]
    yield pieces[middle:]

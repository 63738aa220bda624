"""Blocks: the messages of `usage.lines` that go to ClickHouse in one insert, and the positions they make safe."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec
from aiokafka import ConsumerRecord, TopicPartition

BLOCK_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of one insert: a block stays one part in ClickHouse, and the sink small."""

CHUNK_BYTES_MIN = 256 * 1024
"""Bytes of one write to a socket: what fits a processor's cache."""
_LINES_DIGITS_MAX = 9
_FORMS_REMEMBERED = 16
_decode_names = msgspec.json.Decoder(list[str]).decode

Span = tuple[int, int]
"""Offsets of a partition: the first, and that after the last."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one message that are inserted or refused together: the whole message, or one line of it."""

    record: ConsumerRecord
    payload: bytes
    """NDJSON without space around it: objects, or arrays under `columns`."""
    rows: int
    """How many lines, as the message says it: for the size of blocks only."""
    columns: bytes | None = None
    """The names of what each line's array holds, as a JSON array; None for lines that are objects."""
    line: int | None = None
    """Which line of the message, from 1; None for the whole message."""

    def lines(self) -> list["Piece"]:
        """Return the piece's lines as pieces of their own; none for a single line."""
        if self.line is not None or b"\n" not in self.payload:
            return []
        return [
            Piece(self.record, text, 1, self.columns, line)
            for line, text in enumerate(self.payload.split(b"\n"), start=1)
        ]

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
    headers = dict(record.headers)
    said = headers.get("lines") or b""
    rows = int(said) if said.isdigit() and len(said) <= _LINES_DIGITS_MAX else payload.count(b"\n") + 1
    return Piece(record, payload, rows, headers.get("columns"))


def spans_of(pieces: Iterable[Piece]) -> dict[TopicPartition, Span]:
    """Return by partition which records pieces are of: first offset, and that after the last."""
    spans: dict[TopicPartition, Span] = {}
    for piece in pieces:
        place = TopicPartition(piece.record.topic, piece.record.partition)
        first, _ = spans.get(place, (piece.record.offset, 0))
        spans[place] = (first, piece.record.offset + 1)
    return spans


def fault_of(piece: Piece) -> str | None:
    """Return why a piece cannot be joined with others, None if it can: one bare bracket would spoil its neighbours."""
    if piece.columns is None:
        sound = piece.payload.startswith(b"{") and piece.payload.endswith(b"}")
        return None if sound else "the value is no JSON objects, one a line"
    if not _are_names(piece.columns):
        return "the header columns is no JSON array of names"
    sound = piece.payload.startswith(b"[") and piece.payload.endswith(b"]")
    return None if sound else "the value is no JSON arrays, one a line"


@lru_cache(_FORMS_REMEMBERED)
def _are_names(columns: bytes) -> bool:
    try:
        return bool(_decode_names(columns))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False


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


@dataclass(frozen=True, slots=True)
class Document:
    """What one insert sends: payloads of one form; nothing is parsed."""

    payloads: Sequence[bytes]
    columns: bytes | None = None

    @property
    def format_name(self) -> str:
        """Return what ClickHouse calls the form."""
        return "JSONEachRow" if self.columns is None else "JSONCompactEachRowWithNames"

    def chunks(self) -> Iterator[bytes]:
        """Yield the document, a few payloads at a time."""
        several = [] if self.columns is None else [self.columns]
        size = 0
        for payload in self.payloads:
            several.append(payload)
            size += len(payload)
            if size >= CHUNK_BYTES_MIN:
                yield b"\n".join((*several, b""))
                several.clear()
                size = 0
        if several:
            yield b"\n".join(several)


def by_form(pieces: Iterable[Piece]) -> Iterator[Sequence[Piece]]:
    """Yield the pieces that may stand in one document, form by form; the order of lines does not matter (R7.2)."""
    forms: dict[bytes | None, list[Piece]] = {}
    for piece in pieces:
        forms.setdefault(piece.columns, []).append(piece)
    yield from forms.values()


def document_of(pieces: Sequence[Piece]) -> Document:
    """Return pieces of one form as one document."""
    return Document([piece.payload for piece in pieces], pieces[0].columns)


def halves(pieces: Sequence[Piece]) -> Iterator[Sequence[Piece]]:
    """Yield the first and the second half."""
    middle = len(pieces) // 2
    yield pieces[:middle]
    yield pieces[middle:]

"""Tests of blocks and of waiting, without servers."""

import logging
from collections.abc import Iterable
from dataclasses import replace

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError

from pipeline.observe.log import Repeats
from pipeline.sink import blocks, flush
from pipeline.sink.blocks import Document, Waiting, by_form, document_of, fault_of, whole
from pipeline.sink.flush import persist
from pipeline.sink.store import Away

TWO_LINES = b'{"seq":1}\n{"seq":2}'


def record(offset: int, value: bytes | None = TWO_LINES, partition: int = 0) -> ConsumerRecord:
    """Return a message as a fetch brings it."""
    return ConsumerRecord("usage.lines", partition, offset, 0, 0, None, value, None, 0, len(value or b""), ())


def with_headers(offset: int, **headers: bytes | None) -> ConsumerRecord:
    """Return a message with headers; one that is None is absent."""
    return replace(record(offset), headers=tuple((name, value) for name, value in headers.items() if value is not None))


def waiting(records: Iterable[ConsumerRecord]) -> Waiting:
    """Return messages that wait, in the order given."""
    found = Waiting()
    for one in records:
        found.add({TopicPartition(one.topic, one.partition): [one]})
    return found


def test_a_block_holds_whole_messages_up_to_its_rows() -> None:
    """Messages are never parted; the positions stand behind the last one of each partition."""
    pending = waiting([record(7), record(3, partition=1), record(8)])

    first, second = pending.take(5), pending.take(5)

    assert (first.rows, dict(first.next_offsets)) == (
        4,
        {TopicPartition("usage.lines", 0): 8, TopicPartition("usage.lines", 1): 4},
    )
    assert (second.rows, dict(second.next_offsets)) == (2, {TopicPartition("usage.lines", 0): 9})
    assert pending.empty
    assert pending.rows == 0


def test_a_message_above_the_limits_is_a_block_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message is always taken, however big."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES_MAX", 3)
    pending = waiting([record(0), record(1)])

    assert [pending.take(1).rows, pending.take(100).rows] == [2, 2]


def test_pieces_join_to_one_document_whatever_space_surrounds_them() -> None:
    """A newline at the end of a message makes no empty line, and each line is a piece of its own."""
    pieces = [whole(record(0, TWO_LINES + b"\r\n")), whole(record(1))]

    assert b"".join(document_of(pieces).chunks()) == TWO_LINES + b"\n" + TWO_LINES
    assert [(piece.payload, piece.rows, piece.line) for piece in pieces[0].lines()] == [
        (b'{"seq":1}', 1, 1),
        (b'{"seq":2}', 1, 2),
    ]
    assert pieces[0].original == TWO_LINES + b"\r\n"


def test_a_document_leaves_in_chunks_of_whole_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small messages go together and big ones alone, and every line keeps its end."""
    monkeypatch.setattr(blocks, "CHUNK_BYTES_MIN", 4)

    objects = Document([b"{1}", b"{2}", b"{333}", b"{4}"])
    arrays = Document([b"[1]", b"[2]"], b'["a"]')

    assert list(objects.chunks()) == [b"{1}\n{2}\n", b"{333}\n", b"{4}"]
    assert b"".join(arrays.chunks()).split() == [b'["a"]', b"[1]", b"[2]"]


def test_only_messages_of_one_form_stand_in_one_document() -> None:
    """Arrays under the same names go together, and objects; each line of a message keeps its names."""
    pieces = [
        whole(with_headers(number, columns=columns))
        for number, columns in enumerate((b'["a"]', None, b'["a"]', b'["b"]'))
    ]

    forms = [[piece.record.offset for piece in form] for form in by_form(pieces)]

    assert forms == [[0, 2], [1], [3]]
    assert [line.columns for line in pieces[0].lines()] == [b'["a"]', b'["a"]']


@pytest.mark.parametrize(
    ("value", "columns", "fault"),
    [
        (b'{"a":1}', None, None),
        (b"[1]", None, "objects"),
        (b"", None, "objects"),
        (b"[1]", b'["a"]', None),
        (b'{"a":1}', b'["a"]', "arrays"),
        (b"[1", b'["a"]', "arrays"),
        (b"[1]", b"[]", "names"),
        (b"[1]", b"a,b", "names"),
        (b"[1]", b'["a", 1]', "names"),
        (b"[1]", b'["\xff"]', "names"),
        (b"[1]", b'["a"]\n[2]', "names"),
        (b"[1]", b"", "names"),
    ],
)
def test_what_would_spoil_its_neighbours_stands_alone(value: bytes, columns: bytes | None, fault: str | None) -> None:
    """A message that is not of the form that its header says is not joined with others."""
    found = fault_of(whole(replace(with_headers(0, columns=columns), value=value)))

    assert found is None if fault is None else fault in (found or "")


def test_a_message_says_how_many_lines_it_has() -> None:
    """The header `lines` sizes a block; without a number in it the lines are counted. Parting a message heeds its bytes only."""
    said = [whole(with_headers(0, lines=value)) for value in (b"7", b"two", b"9" * 5000, None)]

    assert [piece.rows for piece in said] == [7, 2, 2, 2]
    assert [len(piece.lines()) for piece in said] == [2, 2, 2, 2]
    assert whole(record(0, b"{}")).lines() == []


@pytest.mark.asyncio
async def test_an_absence_is_said_once_and_its_end_too(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many failed attempts make one warning, and one line when it is over."""
    monkeypatch.setattr(flush, "RETRY_PAUSE_S_MIN", 0.0001)
    failures = iter([Away("no route"), KafkaConnectionError(), Away("no route"), None])

    async def attempt() -> None:
        failure = next(failures)
        if failure is not None:
            raise failure

    with caplog.at_level(logging.INFO):
        await persist("ClickHouse", attempt)

    assert [line.getMessage().split(":")[0].split(" after")[0] for line in caplog.records] == [
        "ClickHouse is away, waiting for it",
        "ClickHouse is back",
    ]


def test_a_library_says_the_same_thing_rarely() -> None:
    """The same words of a chatty library are shown once; other words, and our own, always."""
    hush = Repeats()

    def shown(name: str, words: str) -> bool:
        return hush.filter(logging.LogRecord(name, logging.ERROR, "", 0, words, (), None))

    assert [shown("aiokafka", "node %s is away") for _ in range(3)] == [True, False, False]
    assert shown("aiokafka", "node %s is back")
    assert all(shown("pipeline.sink.flush", "away") for _ in range(3))

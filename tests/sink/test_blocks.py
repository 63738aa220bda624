"""Tests of blocks and of waiting, without servers."""

import logging
from collections.abc import Iterable

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError

from pipeline.observe.log import Repeats
from pipeline.sink import blocks, flush
from pipeline.sink.blocks import Waiting, joined, whole
from pipeline.sink.flush import persist
from pipeline.sink.store import Away

TWO_LINES = b'{"seq":1}\n{"seq":2}'


def record(offset: int, value: bytes | None = TWO_LINES, partition: int = 0) -> ConsumerRecord:
    """Return a message as a fetch brings it."""
    return ConsumerRecord("usage.lines", partition, offset, 0, 0, None, value, None, 0, len(value or b""), ())


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

    assert joined(pieces) == TWO_LINES + b"\n" + TWO_LINES
    assert [(piece.payload, piece.rows, piece.line) for piece in pieces[0].lines()] == [
        (b'{"seq":1}', 1, 1),
        (b'{"seq":2}', 1, 2),
    ]
    assert pieces[0].original == TWO_LINES + b"\r\n"


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

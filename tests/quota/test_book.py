"""Answers that are ready before they are asked for."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pipeline.domain.decisions import Standing
from pipeline.domain.instants import HOUR_US, SECOND_US
from pipeline.domain.quota import Request
from pipeline.quota.answers import KEPT_MAX, RECENT_US, Answers, Kept
from pipeline.quota.board import Board
from pipeline.quota.book import AnswerBook
from tests.quota.support import ASKED, record_of, small_world, value_of

pytestmark = pytest.mark.asyncio
KEY = ("key",)
REQUEST = Request(**ASKED)


def now_us() -> int:
    return time.time_ns() // 1000


@asynccontextmanager
async def running(book: AnswerBook) -> AsyncIterator[None]:
    task = asyncio.create_task(book.run())
    try:
        yield
    finally:
        task.cancel()


async def renewed(book: AnswerBook, board: Board) -> None:
    """Return once the answers rest on what the board has now."""
    board.read_at(time.monotonic())
    book.wake()
    async with asyncio.timeout(5):
        while book.as_of_s < board.as_of_s:  # noqa: ASYNC110 - another task does what is waited for
            await asyncio.sleep(0)


def asked_again(answers: Answers, key: Any = KEY) -> Kept:
    """Do what a gate does when it finds a kept answer."""
    kept = answers.kept[key]
    kept.again, kept.asked_us = True, now_us()
    return kept


async def test_what_is_asked_again_is_decided_before_it_is_asked() -> None:
    """After another record, the answers that were asked for twice are there already; those asked for once are not."""
    world, board = small_world(), Board()
    book = AnswerBook(board, world.catalog)
    async with running(book):
        before = book.answers_of("acme")
        assert before is not None
        before.decide(KEY, REQUEST, now_us())
        before.decide(("once",), REQUEST, now_us())
        asked_again(before)

        board.put("acme", value_of(world, used=3))
        await renewed(book, board)

    kept = book.known["acme"].kept
    assert [*kept] == [KEY]
    assert not kept[KEY].decision.allowed


async def test_forgets_what_nobody_asks_any_more() -> None:
    """A request of long ago is not decided again and again."""
    world = small_world()
    answers = Answers(Standing(record_of(world), world.terms))
    answers.decide(KEY, REQUEST, now_us())
    asked_again(answers)

    after = answers.successor(Standing(record_of(world), world.terms), now_us() + RECENT_US + 1)

    assert after.kept == {}


async def test_keeps_a_bounded_number_of_answers() -> None:
    """Whoever asks for ever new requests pushes out those that were not asked for lately."""
    world = small_world()
    answers = Answers(Standing(record_of(world), world.terms))
    answers.decide(KEY, REQUEST, now_us())

    for number in range(2 * KEPT_MAX):
        asked_again(answers)
        answers.decide((number,), REQUEST, now_us())

    assert len(answers.kept) == KEPT_MAX
    assert KEY in answers.kept


async def test_an_answer_holds_no_longer_than_what_it_rests_on() -> None:
    """A grant that begins or ends within the hour ends the answers from before."""
    world = small_world()
    hour_us = now_us() // HOUR_US * HOUR_US
    begins_us, ends_us = hour_us + 600 * SECOND_US, hour_us + 1200 * SECOND_US
    world.state.watermark_ms = hour_us // 1000
    world.grant("g", 5, effective_us=begins_us, expires_us=ends_us, sent="2026-01-02T00:00:00Z")
    answers = Answers(Standing(record_of(world), world.terms))
    request = Request(**ASKED, quantity=4)

    found = []
    for at_us in (hour_us, begins_us, ends_us):
        allowed = answers.decide(KEY, request, at_us).allowed
        found.append((allowed, answers.kept[KEY].until_us))

    assert found == [(False, begins_us), (True, ends_us), (False, hour_us + HOUR_US)]


async def test_age_is_that_of_the_answers() -> None:
    """What is read, but not answered by yet, does not make the answers younger."""
    world, board = small_world(), Board()
    book = AnswerBook(board, world.catalog)
    board.read_at(time.monotonic())
    book.wake()

    before = book.ready.is_set()
    async with running(book):
        await renewed(book, board)

    assert not before
    assert book.ready.is_set()


async def test_a_record_that_cannot_be_read_answers_nothing() -> None:
    """Answers of an older record do not outlive it."""
    world, board = small_world(), Board()
    book = AnswerBook(board, world.catalog)
    async with running(book):
        assert book.answers_of("acme") is not None

        board.put("acme", b"{}")
        await renewed(book, board)

    assert book.answers_of("acme") is None


async def test_another_catalog_changes_every_answer() -> None:
    """After a change of the catalog everything is decided anew."""
    world, richer = small_world(), small_world(allowances=())
    board = Board()
    book = AnswerBook(board, world.catalog)
    async with running(book):
        answers = book.answers_of("acme")
        assert answers is not None
        before = answers.decide(KEY, REQUEST, now_us())
        asked_again(answers)

        book.use(richer.catalog)
        await renewed(book, board)

    assert before.allowed
    assert not book.known["acme"].kept[KEY].decision.allowed

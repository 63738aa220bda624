"""The gate: answers from memory, and what goes when it knows too little."""

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from pipeline.quota.board import Board
from pipeline.quota.book import AnswerBook
from pipeline.sdk.gate import Answer, QuotaGate
from tests.domain.world import World
from tests.quota.support import ASKED, small_world, value_of
from tests.sdk.support import until

ASK: Any = {name: value for name, value in ASKED.items() if name not in ("deployment", "environment")}


class Told:
    """A source that says what it is told, in the gate's thread."""

    def __init__(self, world: World, board: Board, book: AnswerBook) -> None:
        self.fault: str | None = "told nothing yet"
        self._board, self._book = board, book
        self._loop: asyncio.AbstractEventLoop | None = None
        self.begun = threading.Event()
        book.use(world.catalog)

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.begun.set()
        await asyncio.Event().wait()

    def say(self, value: bytes | None = None, age_s: float = 0.0) -> None:
        """Put a record of acme, which is as old as that, and return once answers rest on it."""
        as_of_s = time.monotonic() - age_s

        def put() -> None:
            if value is not None:
                self._board.put("acme", value)
            self._board.read_at(as_of_s)
            self._book.wake()

        assert self.begun.wait(5)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(put)
        until(lambda: self._book.as_of_s >= as_of_s)


class Rig:
    """A gate, and the source that it has."""

    def __init__(self, **options: Any) -> None:
        self.world = small_world()
        self.sources: list[Told] = []
        given = {"deployment": "dep", "environment": "production"} | options
        self.gate = QuotaGate(self._make, "acme", **given)

    def _make(self, board: Board, book: AnswerBook) -> Told:
        self.sources.append(Told(self.world, board, book))
        return self.sources[-1]

    def used(self, quantity: int, age_s: float = 0.0) -> None:
        """Let it learn that so many more documents are used."""
        self.sources[-1].say(value_of(self.world, quantity), age_s)


@pytest.fixture
def new_rig() -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(**options: Any) -> Rig:
        rigs.append(Rig(**options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.gate.close()


@pytest.fixture
def rig(new_rig: Callable[..., Rig]) -> Rig:
    rig = new_rig()
    rig.used(0)
    return rig


def test_answers_by_the_last_record(rig: Rig) -> None:
    """A call goes while something is left, and not after: with reason, sentence and age."""
    before = rig.gate.check(**ASK, quantity=3)

    rig.used(3)
    after = rig.gate.check(**ASK, quantity=3)

    assert (before.allowed, before.reason, before.stale) == (True, None, False)
    assert (after.allowed, after.reason, after.stale) == (False, "overage_blocked", False)
    assert "not included any more" in after.sentence
    assert before
    assert not after
    assert 0 <= (after.age_ms or 0) < 5000


def test_what_is_asked_again_comes_from_memory(rig: Rig) -> None:
    """The same question has the same answer without another decision; also after a record that says the same."""
    first, second = rig.gate.check(**ASK), rig.gate.check(**ASK)
    rig.used(1)
    kept = rig.gate._live.book.known["acme"].kept
    third = rig.gate.check(**ASK)

    assert second.decision is first.decision
    assert third.decision is next(iter(kept.values())).decision


def test_prices_come_with_the_answer(new_rig: Callable[..., Rig]) -> None:
    """The price is that of the tokens, or of the caller's own estimate, as a string or a Decimal."""
    rig = new_rig()
    rig.world = small_world(overage={})
    rig.gate.use_catalog_view(rig.world.catalog)
    rig.used(3)

    answers = [rig.gate.check(**ASK, cost="0.01"), rig.gate.check(**ASK, cost=Decimal("1E-2"))]
    by_tokens = rig.gate.check(**ASK, input_tokens=1_000_000, output_tokens=None)

    assert [answer.decision.charge_pico for answer in answers] == [10**10, 10**10]
    assert by_tokens.decision.charge_pico == 25 * 10**10
    assert answers[0].sentence == "1 of 1 document is paid: about $0.01."


def test_a_request_that_cannot_be_billed_is_denied(rig: Rig) -> None:
    """Wrong values raise nothing: they are denied with the code with which the event would be rejected."""
    wrong: list[dict[str, Any]] = [
        {"quantity": -1},
        {"quantity": "three"},
        {"cost": 0.1},
        {"cost": Decimal("NaN")},
        {"workspace": ""},
        {"workspace": ["legal"]},
        {"route": "scenic"},
        {"customer": "a\nb"},
    ]

    answers = [rig.gate.check(**ASK | each) for each in wrong]
    unknown = rig.gate.check(**ASK, deployment="nobody's")

    assert [answer.reason for answer in answers] == ["invalid_field"] * len(wrong)
    assert not any(answers)
    assert unknown.reason == "unknown_deployment"


def test_before_anything_is_known_the_policy_goes(new_rig: Callable[..., Rig]) -> None:
    """Open unless told otherwise, by unit; every such answer says that it is stale."""
    rig = new_rig(stale={"document": "closed"})

    closed, opened = rig.gate.check(**ASK), rig.gate.check(**ASK | {"unit": "page"})

    assert (closed.allowed, closed.reason, closed.stale, closed.age_ms) == (False, "stale_quota", True, None)
    assert (opened.allowed, opened.reason, opened.stale) == (True, "stale_quota", True)
    assert closed.sentence != opened.sentence
    assert not rig.gate.wait_ready(0.01)


def test_what_is_too_old_does_not_decide(new_rig: Callable[..., Rig]) -> None:
    """Above the greatest age the policy goes, with the last known price; fresh news ends that."""
    rig = new_rig(max_age_s=5.0, stale={"default": "closed"})
    rig.used(1, age_s=4.0)

    young = rig.gate.check(**ASK)
    until(lambda: rig.gate.check(**ASK).stale)
    old = rig.gate.check(**ASK)
    rig.used(0)
    again = rig.gate.check(**ASK)

    assert (young.allowed, young.stale) == (True, False)
    assert (old.allowed, old.reason, old.decision.included) == (False, "stale_quota", 1)
    assert (old.age_ms or 0) >= 5000
    assert (again.allowed, again.stale) == (True, False)


def test_open_lets_go_what_was_denied_when_it_was_known(new_rig: Callable[..., Rig]) -> None:
    """Fail open means open: also for a customer that had nothing left."""
    rig = new_rig(max_age_s=0.5)
    rig.used(3)

    known = rig.gate.check(**ASK)
    until(lambda: rig.gate.check(**ASK).stale)

    assert not known.allowed
    assert rig.gate.check(**ASK).allowed


def test_a_fault_of_ours_does_not_reach_the_host(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """When deciding fails, the policy goes."""

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(rig.gate._live.book, "answers_of", fail)

    assert rig.gate.check(**ASK).reason == "stale_quota"


def test_options_that_make_no_sense_are_refused() -> None:
    """A misspelt policy must not pass for another."""
    for options in ({"stale": {"document": "close"}}, {"max_age_s": 0}):
        with pytest.raises(ValueError, match=r"stale|max_age_s"):
            Rig(**options)


def test_many_threads_may_ask(rig: Rig) -> None:
    """While records come, threads get answers of some record, and the last one's in the end."""
    faults: list[Answer] = []
    ended = threading.Event()

    def ask(number: int) -> None:
        turn = 0
        while not ended.is_set():
            turn += 1
            answer = rig.gate.check(**ASK, quantity=1 + (number + turn) % 100)
            if answer.stale or answer.reason not in (None, "overage_blocked"):
                faults.append(answer)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        rig.used(0)
    rig.used(3)
    ended.set()
    for thread in threads:
        thread.join()

    assert faults == []
    assert not rig.gate.check(**ASK).allowed


def _ask_in_child(rig: Rig, answers: Any) -> None:
    first = rig.gate.check(**ASK)
    rig.sources[-1].say(value_of(rig.world, 3))
    answers.put((first.stale, first.allowed, rig.gate.check(**ASK).reason))


def test_a_forked_process_begins_anew(rig: Rig) -> None:
    """The child knows nothing until it has read for itself; the parent goes on."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_ask_in_child, args=(rig, answers))
    child.start()
    said = answers.get(timeout=20)
    child.join(20)

    assert said == (True, True, "overage_blocked")
    assert child.exitcode == 0
    assert rig.gate.check(**ASK).allowed


def test_loads_neither_the_stream_nor_the_warehouse() -> None:
    """A host that asks for quota pays for nothing else; not for clients that it does not use either."""
    code = "import sys, pipeline.sdk.gate; print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ.copy()
    ).stdout.split()

    heavy = {"faust", "clickhouse_connect", "chdb", "pydantic", "yaml", "fastapi", "aiokafka", "httpx", "jsonschema"}
    assert not heavy & set(found)

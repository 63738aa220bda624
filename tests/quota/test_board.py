"""The board: the last record of each customer, and its age."""

import time

import pytest

from pipeline.domain.quota import Request
from pipeline.quota.board import STANDINGS_MAX, Board
from tests.quota.support import ASKED, record_of, small_world, value_of


def now_us() -> int:
    return time.time_ns() // 1000


def test_knows_nothing_until_it_was_read_to_the_end() -> None:
    """A board has no age before its source was read once; then it grows by itself."""
    board = Board()

    before = board.is_ready, board.age_ms()
    board.replace({}, time.monotonic() - 1.5)

    assert before == (False, None)
    assert 1500 <= (board.age_ms() or 0) < 3000


def test_age_never_grows_by_old_news() -> None:
    """What was known to be everything at an instant stays known, whatever older is said later."""
    board = Board()
    board.read_at(time.monotonic())

    board.read_at(time.monotonic() - 60)

    assert (board.age_ms() or 0) < 5000


def test_a_customer_without_a_record_has_an_empty_one() -> None:
    """Who has used nothing yet may use all that is included."""
    world = small_world()
    board = Board()

    decision = board.standing("acme", world.terms).decide(Request(**ASKED, quantity=3), now_us())

    assert decision.allowed
    assert board.record("acme").version == 0


def test_decides_by_the_last_record() -> None:
    """Each record replaces the one before; a standing is kept for as long as its record is the last."""
    world, board = small_world(), Board()
    board.put("acme", value_of(world, used=1))
    first = board.standing("acme", world.terms)

    same = board.standing("acme", world.terms)
    board.put("acme", value_of(world, used=2))

    assert same is first
    assert first.decide(Request(**ASKED), now_us()).allowed
    assert not board.standing("acme", world.terms).decide(Request(**ASKED), now_us()).allowed


def test_keeps_a_bounded_number_of_standings() -> None:
    """Records stay bytes but for those that were asked for last."""
    world, board = small_world(), Board()

    for number in range(STANDINGS_MAX + 10):
        board.standing(f"customer-{number}", world.terms)

    assert len(board._standings) == STANDINGS_MAX


def test_tells_listeners_of_their_customer_only() -> None:
    """A listener hears of its customer, one of everybody of all; after unsubscribing of none."""
    board = Board()
    heard: list[tuple[str, str, bytes | None]] = []
    stop = board.subscribe(lambda customer, value: heard.append(("acme's", customer, value)), "acme")
    board.subscribe(lambda customer, value: heard.append(("all", customer, value)))

    board.put("acme", b"1")
    board.put("other", b"2")
    stop()
    board.put("acme", None)

    assert heard == [("acme's", "acme", b"1"), ("all", "acme", b"1"), ("all", "other", b"2"), ("all", "acme", None)]


def test_replacing_tells_only_what_has_changed() -> None:
    """After everything was read again, who had what is there now hears nothing; who has gone is told of."""
    board = Board()
    board.replace({"same": b"1", "changed": b"1", "gone": b"1"}, 0.0)
    heard: dict[str, bytes | None] = {}
    board.subscribe(lambda customer, value: heard.update({customer: value}))

    board.replace({"same": b"1", "changed": b"2", "new": b"1"}, 0.0)

    assert heard == {"changed": b"2", "gone": None, "new": b"1"}


def test_a_record_that_cannot_be_read_says_so() -> None:
    """Nothing is decided on half a record."""
    board = Board()
    board.put("acme", b'{"schema": 99}')

    with pytest.raises(ValueError, match="cannot be read"):
        board.record("acme")


def test_records_are_small() -> None:
    """The record of a customer with an allowance in use is far below 2 KB."""
    assert len(value_of(small_world(), used=2)) < 500
    assert record_of(small_world(), used=2).accounts

"""When nearly everything is rejected, it is said: once it begins, now and then while it lasts, and when it ends."""

import pytest

from pipeline.observe.poison import (
    EVENTS_MIN,
    OLD_S,
    REPEAT_S,
    STANDSTILL_EVENTS_MIN,
    STANDSTILL_S,
    Phase,
    Poison,
    PoisonWatch,
)


def phases(said: list[Poison | None]) -> list[Phase | None]:
    return [None if each is None else each.phase for each in said]


def bad(count: int, code: str = "malformed") -> dict[str, int]:
    return {code: count}


@pytest.mark.rule("R2.3")
def test_begins_when_nine_of_ten_of_a_thousand_are_rejected() -> None:
    """At 90 % of 1,000 events poison begins, and the words name the numbers and the most frequent codes."""
    watch = PoisonWatch()

    assert watch.note(0.0, 500, {"malformed": 350, "wrong_key": 90}) is None
    begun = watch.note(0.1, 500, {"malformed": 10, "unknown_customer": 450})

    assert begun == Poison(Phase.BEGUN, 900, 1000, (("unknown_customer", 450), ("malformed", 360), ("wrong_key", 90)))
    assert begun.words().startswith(
        "900 of the last 1000 events were rejected, mostly as unknown_customer 450, malformed"
    )
    assert watch.poisoned


@pytest.mark.parametrize(("seen", "rejected"), [(1000, 899), (999, 999), (100_000, 89_999), (0, 0)])
def test_less_is_no_poison(seen: int, rejected: int) -> None:
    """Fewer events, or a smaller share of rejects, are the daily business of the dead letters."""
    watch = PoisonWatch()

    assert watch.note(0.0, seen, bad(rejected)) is None
    assert not watch.poisoned


def test_one_bad_batch_among_many_good_ones_is_no_poison() -> None:
    """A batch of 10,000 rejects in the traffic of the last seconds does not make nearly everything rejected."""
    watch = PoisonWatch()

    said = [watch.note(at / 10, 1000, {}) for at in range(50)]
    said.append(watch.note(5.0, 10_000, bad(10_000)))
    said += [watch.note(5 + at / 10, 1000, {}) for at in range(50)]

    assert set(said) == {None}


def test_a_fault_after_long_good_service_is_seen_within_seconds() -> None:
    """What was accepted more than some seconds ago does not hide that now everything is rejected."""
    watch = PoisonWatch()
    for second in range(1000):
        assert watch.note(float(second), 5000, {}) is None

    said = [watch.note(1000.0 + second, 5000, bad(5000)) for second in range(12)]

    assert phases(said).count(Phase.BEGUN) == 1


def test_says_it_again_once_a_minute_and_that_it_has_ended() -> None:
    """While it lasts it is said at most once a minute; when the half is accepted again, once that it has ended."""
    watch = PoisonWatch()
    said = [watch.note(float(second), 2000, bad(2000)) for second in range(200)]

    after = [watch.note(200.0 + second, 2000, {}) for second in range(60)]

    assert [at for at, each in enumerate(said) if each] == [0, REPEAT_S, 2 * REPEAT_S, 3 * REPEAT_S]
    assert phases(said)[:: int(REPEAT_S)] == [Phase.BEGUN] + [Phase.ONGOING] * 3
    (ended,) = [each for each in after if each]
    assert ended.phase is Phase.ENDED
    assert ended.rejected * 2 <= ended.seen
    assert not watch.poisoned


def test_a_share_between_the_limits_neither_begins_nor_ends_it() -> None:
    """Between half and nine tenths it stays as it is, so that it does not come and go."""
    watch, poisoned = PoisonWatch(), PoisonWatch()
    poisoned.note(0.0, 1000, bad(1000))

    said = [each.note(at / 100, 100, bad(70)) for each in (watch, poisoned) for at in range(200)]

    assert set(said) == {None}
    assert (watch.poisoned, poisoned.poisoned) == (False, True)


def test_a_slow_sender_of_nothing_but_rejects_is_seen() -> None:
    """A partition that accepts nothing for a minute is poisoned by fewer events; what was accepted before is forgotten."""
    watch = PoisonWatch()
    watch.note(0.0, 500, {})
    each_s = STANDSTILL_S / STANDSTILL_EVENTS_MIN

    said = [watch.note(10 + at * each_s, 1, bad(1, "unknown_deployment")) for at in range(STANDSTILL_EVENTS_MIN + 2)]

    assert phases(said) == [None] * STANDSTILL_EVENTS_MIN + [Phase.BEGUN, None]
    assert said[-2] is not None
    assert said[-2].rejected == said[-2].seen == STANDSTILL_EVENTS_MIN + 1


def test_a_slow_sender_who_is_accepted_now_and_then_is_not() -> None:
    """One accepted event in a minute is no standstill; nor are few rejects at one time on an idle partition."""
    watch = PoisonWatch()

    said = [watch.note(float(second), 2, bad(2 if second % 50 else 1)) for second in range(400)]
    idle = PoisonWatch()
    said += [idle.note(1e6, 0, {}), idle.note(2e6, 500, bad(500)), idle.note(2e6 + STANDSTILL_S / 2, 100, bad(100))]

    assert set(said) == {None}


def test_silence_ends_it() -> None:
    """When nothing arrives any more, nothing is known: it ends, and the words say why."""
    watch = PoisonWatch()
    watch.note(0.0, EVENTS_MIN, bad(EVENTS_MIN))

    ended = watch.note(OLD_S + 1, 0, {})

    assert ended == Poison(Phase.ENDED, 0, 0, ())
    assert ended.words().startswith("no event has arrived for 600 s")


def test_its_memory_is_bounded() -> None:
    """However many rounds there are, only so many seconds are kept, and the sums are those of what is kept."""
    watch = PoisonWatch()

    for at in range(100_000):
        watch.note(at / 50, 1, bad(at % 2))
        assert len(watch._buckets) <= OLD_S + 2
    assert watch._seen == sum(bucket.seen for bucket in watch._buckets)
    assert watch._codes.total() == sum(bucket.codes.total() for bucket in watch._buckets)


@pytest.mark.parametrize(("seen", "rejects"), [(1, bad(2)), (-1, {}), (5, bad(-1))])
def test_impossible_numbers_are_an_error(seen: int, rejects: dict[str, int]) -> None:
    """More rejects than events, or fewer than none, are a fault of the caller."""
    with pytest.raises(ValueError, match="rejects of"):
        PoisonWatch().note(0.0, seen, rejects)

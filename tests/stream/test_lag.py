"""How long the oldest record that is not rated has waited."""

from faust.types import TP

from pipeline.stream.lag import Lag, Waits

EVENTS, GRANTS = TP("usage.events", 0), TP("billing.grants", 0)


def test_what_was_fetched_waits_since_its_timestamp():
    """The oldest record that is at hand counts."""
    lags = {EVENTS: Lag(5, 10, 95_000), GRANTS: Lag(1, 2, 90_000)}

    assert Waits().longest_s(lags, 100.0) == 10.0


def test_what_was_not_fetched_waits_since_it_was_first_asked_for():
    """A record without a timestamp waits longer each time, and another record begins at 0."""
    waits = Waits()

    first, second = (
        waits.longest_s({EVENTS: Lag(5, 10, None)}, 100.0),
        waits.longest_s({EVENTS: Lag(7, 10, None)}, 130.0),
    )
    after = waits.longest_s({EVENTS: Lag(6, 11, None)}, 131.0)

    assert (first, second, after) == (0.0, 30.0, 0.0)


def test_nothing_waits_when_nothing_lies_before_us():
    """No lag is no wait, and a sender's clock that is ahead makes none that is negative."""
    assert Waits().longest_s({}, 100.0) == 0.0
    assert Waits().longest_s({EVENTS: Lag(1, 1, 200_000)}, 100.0) == 0.0

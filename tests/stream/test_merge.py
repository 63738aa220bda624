"""The order of the two topics of a partition."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.stream.merge import Ends, Merge, PositionError
from tests.stream.plain_merge import PlainMerge

WAIT_S = 0.02
HOLD_S = 1.0
MANY = 1000
PLENTY = 1 << 20


def new_merge(events: int = 0, grants: int = 0) -> Merge:
    return Merge(0, events, grants, WAIT_S, HOLD_S)


def event(offset: int, timestamp_ms: int, value: bytes = b"e") -> Record:
    return Record(EVENTS_TOPIC, 0, offset, timestamp_ms, b"acme", value)


def grant(offset: int, timestamp_ms: int) -> Record:
    return Record(GRANTS_TOPIC, 0, offset, timestamp_ms, b"acme", b"g")


def taken(merge: Merge, ends: Ends | None = None) -> list[tuple[str, int]]:
    return [(record.topic, record.offset) for run in merge.take(ends, MANY, PLENTY) for record in run]


def test_nothing_is_ready_at_first():
    """A partition without records waits for an arrival, not for a time."""
    merge = new_merge()

    assert merge.ready_at_s() is None
    assert taken(merge, Ends(10.0, 0, 0)) == []


@pytest.mark.rule("R3.3")
def test_heads_are_compared_by_timestamp():
    """Records of both topics come in the order of their timestamps as long as both heads are known."""
    merge = new_merge()
    merge.events.add(0, [event(0, 100), event(1, 300), event(2, 500)], 3, now_s=0.0)
    merge.grants.add(0, [grant(0, 200), grant(1, 400)], 2, now_s=0.0)

    assert merge.ready_at_s() == 0.0
    assert not merge.needs_ends()
    assert taken(merge) == [(EVENTS_TOPIC, 0), (GRANTS_TOPIC, 0), (EVENTS_TOPIC, 1), (GRANTS_TOPIC, 1)]


def test_a_grant_goes_first_on_a_tie():
    """A grant with an event's timestamp is applied before the event."""
    merge = new_merge()
    merge.events.add(0, [event(0, 100)], 1, now_s=0.0)
    merge.grants.add(0, [grant(0, 100)], 1, now_s=0.0)

    assert taken(merge)[0] == (GRANTS_TOPIC, 0)


def test_an_event_waits_for_a_grant_that_is_in_the_log():
    """While the log of grants holds something unread, no event is rated; then the grant takes its place."""
    merge = new_merge()
    merge.events.add(0, [event(0, 200)], 1, now_s=0.0)
    assert taken(merge, Ends(5.0, events=1, grants=1)) == []

    merge.grants.add(0, [grant(0, 100)], 1, now_s=6.0)

    assert taken(merge)[0] == (GRANTS_TOPIC, 0)


def test_an_event_does_not_wait_for_a_grant_that_is_not_in_the_log():
    """With all grants of the log read, events go at once."""
    merge = new_merge(grants=7)
    merge.events.add(0, [event(0, 200), event(1, 201)], 2, now_s=0.0)

    assert taken(merge, Ends(5.0, events=2, grants=7)) == [(EVENTS_TOPIC, 0), (EVENTS_TOPIC, 1)]


def test_old_ends_do_not_let_an_event_go():
    """Ends asked before the event was due say nothing about a grant sent together with it."""
    merge = new_merge()
    merge.events.add(0, [event(0, 200)], 1, now_s=10.0)

    assert merge.ready_at_s() == 10.0 + WAIT_S
    assert taken(merge, Ends(10.0, events=1, grants=0)) == []
    assert taken(merge, Ends(10.0 + WAIT_S, events=1, grants=0)) == [(EVENTS_TOPIC, 0)]


def test_a_lone_grant_waits_until_the_events_stand_still():
    """A grant that no later event vouches for goes when the events are read to the end and stood still for the hold."""
    merge = new_merge()
    merge.grants.add(0, [grant(0, 100)], 1, now_s=10.0)

    assert merge.ready_at_s() == 10.0 + HOLD_S
    assert taken(merge, Ends(10.9, events=0, grants=1)) == []
    assert taken(merge, Ends(11.0, events=3, grants=1)) == []
    assert taken(merge, Ends(11.0, events=0, grants=1)) == [(GRANTS_TOPIC, 0)]


def test_an_arriving_event_makes_a_lone_grant_wait_anew():
    """Earlier events that come during the hold go first, and the hold begins again with them."""
    merge = new_merge()
    merge.grants.add(0, [grant(0, 100)], 1, now_s=10.0)
    merge.events.add(0, [event(0, 50)], 1, now_s=10.9)

    assert taken(merge) == [(EVENTS_TOPIC, 0)]
    assert merge.ready_at_s() == 10.9 + HOLD_S


def test_a_later_event_vouches_for_a_grant():
    """With a later event known nothing earlier can come, so the grant goes without any waiting."""
    merge = new_merge()
    merge.grants.add(0, [grant(0, 100)], 1, now_s=10.0)
    merge.events.add(0, [event(0, 150)], 1, now_s=10.0)

    assert taken(merge)[0] == (GRANTS_TOPIC, 0)


def test_positions_over_control_records_count_as_read():
    """A log that ends in control records is read to its end when the position is there, without a last record."""
    merge = new_merge()
    merge.grants.add(0, [], 3, now_s=0.0)
    merge.events.add(0, [event(0, 200)], 1, now_s=0.0)

    assert taken(merge, Ends(5.0, events=1, grants=3)) == [(EVENTS_TOPIC, 0)]


def test_the_limits_bound_a_call():
    """A call stops after the record that reaches the limit of records or bytes."""
    merge = new_merge()
    merge.events.add(0, [event(offset, 100, b"x" * 10) for offset in range(6)], 6, now_s=0.0)
    ends = Ends(5.0, events=6, grants=0)

    assert [len(run) for run in merge.take(ends, 2, PLENTY)] == [2]
    assert [len(run) for run in merge.take(ends, MANY, 15)] == [2]
    assert merge.events.bytes == 20


def test_what_is_taken_is_what_may_be_committed():
    """The next offset is that of the first record that was not taken, or the read position when all were."""
    merge = new_merge(events=5)
    merge.events.add(5, [event(5, 100), event(8, 101)], 10, now_s=0.0)
    assert merge.events.next_offset() == 5

    merge.take(Ends(5.0, events=10, grants=0), 1, PLENTY)
    assert merge.events.next_offset() == 8

    merge.take(Ends(5.0, events=10, grants=0), 1, PLENTY)
    assert merge.events.next_offset() == 10


def test_a_jump_in_the_positions_is_an_error():
    """A delivery that does not begin where the last one ended means that records were lost or repeated."""
    merge = new_merge()
    merge.events.add(0, [event(0, 100)], 1, now_s=0.0)

    with pytest.raises(PositionError, match=r"usage\.events/0: expected offset 1, but 2"):
        merge.events.add(2, [event(2, 100)], 3, now_s=0.0)
    with pytest.raises(PositionError, match="expected offset 1, but 0"):
        merge.events.add(0, [event(0, 100)], 1, now_s=0.0)


@pytest.mark.rule("R3.3")
@pytest.mark.parametrize("cut", [1, 2, 3, 7])
def test_the_order_does_not_depend_on_how_deliveries_are_cut(cut: int):
    """However the same logs are cut into deliveries, the merged order is the same."""
    events = [event(offset, 10 * offset) for offset in range(20)]
    grants = [grant(offset, 10 * at + 5) for offset, at in enumerate((0, 3, 3, 11, 19))]
    merge, order, now_s = new_merge(), [], 0.0
    todo_events, todo_grants = list(events), list(grants)

    while len(order) < len(events) + len(grants):
        for side, todo in ((merge.events, todo_events), (merge.grants, todo_grants)):
            part, todo[:] = todo[:cut], todo[cut:]
            side.add(side.position, part, side.position + len(part), now_s)
        now_s += 2 * HOLD_S
        order += chain(*merge.take(Ends(now_s, len(events), len(grants)), MANY, PLENTY))

    assert order == sorted(events + grants, key=lambda r: (r.timestamp_ms, r.topic))


DELIVERIES = st.tuples(
    st.sampled_from([EVENTS_TOPIC, GRANTS_TOPIC]),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.sampled_from([None, b"", b"x", b"xx", b"x" * 9]))),
    st.integers(0, 2),
)
"""Topic; per record the gap before it, its timestamp and its value; the gap at the end."""
TAKES = st.tuples(
    st.none() | st.tuples(st.integers(-4, 0), st.integers(-2, 1), st.integers(-2, 1)),
    st.integers(1, 9),
    st.integers(1, 25),
)
"""How old the ends are, how far off they are, or that they are not known; the limits."""


@pytest.mark.rule("R3.3")
@given(st.lists(DELIVERIES | TAKES, max_size=25))
def test_runs_come_as_records_would_one_by_one(steps: list):
    """For any deliveries and takes, what is taken and what is left is what the plain merge has, record by record."""
    merge, plain = Merge(0, 0, 0, 1.0, 2.0), PlainMerge(1.0, 2.0)
    for now_s, step in enumerate(steps):
        if step[0] in (EVENTS_TOPIC, GRANTS_TOPIC):
            topic, rows, gap = step
            side, twin = (merge.events, plain.events) if topic == EVENTS_TOPIC else (merge.grants, plain.grants)
            position, records = side.position, []
            for skipped, timestamp_ms, value in rows:
                records.append(Record(topic, 0, position + skipped, timestamp_ms, b"acme", value))
                position += skipped + 1
            side.add(side.position, records, position + gap, now_s)
            twin.add(records, position + gap, now_s)
        else:
            known, count_max, bytes_max = step
            ends = known and Ends(now_s + known[0], merge.events.position + known[1], merge.grants.position + known[2])
            assert list(chain(*merge.take(ends, count_max, bytes_max))) == plain.take(ends, count_max, bytes_max)
        for side, twin in ((merge.events, plain.events), (merge.grants, plain.grants)):
            assert (side.next_offset(), side.bytes, bool(side)) == (
                twin.next_offset(),
                twin.bytes(),
                bool(twin.waiting),
            )

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codec.states import (
    OpenSegment,
    Part,
    Positions,
    check_segment,
    encode_account,
    encode_pack,
    encode_positions,
    encode_window,
    join_key,
    parse_part,
    restore_account,
    restore_pack,
    restore_positions,
    restore_window,
    split_key,
    window_number,
    window_of_number,
)
from pipeline.domain.digests import DIGEST_SIZE
from pipeline.domain.events import STRING_MAX
from pipeline.domain.grants import Grant
from pipeline.domain.instants import DAY_US
from pipeline.domain.state import (
    IDENTITY_SIZE,
    PERIOD,
    Account,
    Counters,
    CustomerState,
    GrantPool,
    Spent,
    Used,
)
from tests.domain.world import snapshot

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=STRING_MAX)
COUNTS = st.integers(0, 10**12)
AMOUNTS = st.integers(-(10**38), 10**38)
INSTANTS = st.integers(-(6 * 10**16), 3 * 10**17)
KEYS = st.tuples(NAMES, st.just("") | NAMES, st.just(-1) | INSTANTS)
WINDOWS = st.tuples(st.just(PERIOD) | st.integers(0, 60_000).map(lambda day: day * DAY_US), st.integers(0, 255))
COUNTERS = st.builds(
    Counters,
    pools=st.dictionaries(KEYS, st.builds(Used, st.integers(1, 10**24)), max_size=3),
    budgets=st.dictionaries(KEYS, st.builds(Spent, st.integers(1, 10**24), AMOUNTS), max_size=3),
)
GRANTS = st.builds(
    Grant,
    id=NAMES,
    customer=NAMES,
    quantity=COUNTS,
    match=st.dictionaries(st.sampled_from(["unit", "class"]), st.frozensets(NAMES, min_size=1, max_size=3)),
    credits=st.none() | st.dictionaries(NAMES, st.integers(1, 10**12), max_size=3),
    priority=st.integers(-(10**12), 10**12),
    effective_us=st.none() | INSTANTS,
    expires_us=st.none() | INSTANTS,
)
TIERS = st.dictionaries(st.integers(-1, 50), COUNTS, max_size=5)
ACCOUNT_KEYS = st.tuples(NAMES, COUNTS, NAMES)
ACCOUNTS = st.builds(
    Account,
    INSTANTS,
    windows=st.dictionaries(WINDOWS, COUNTERS.filter(lambda each: each.pools or each.budgets), max_size=3),
    tiers=TIERS,
)


def new_state(customer: str, **parts: Any) -> CustomerState:
    return CustomerState(customer, **parts)


STATES = st.builds(
    new_state,
    st.just("acme"),
    watermark_ms=st.integers(-1, 2**62),
    seq=COUNTS,
    wallet_pico=AMOUNTS,
    grant_ids=st.sets(NAMES, max_size=5),
    grants=st.lists(st.builds(GrantPool, GRANTS, INSTANTS, COUNTS), max_size=3),
    accounts=st.dictionaries(ACCOUNT_KEYS, ACCOUNTS, max_size=3),
    closed_us=st.dictionaries(NAMES, INSTANTS, max_size=2),
    events_applied=st.integers(-1, 2**62),
    grants_applied=st.integers(-1, 2**62),
)
SEGMENTS = st.lists(
    st.builds(
        OpenSegment, st.none() | ACCOUNT_KEYS, st.integers(0, 10**6), st.binary(max_size=200) | st.just(b"\n\n\x00")
    ),
    max_size=4,
)


@given(NAMES, st.sampled_from(["pack", "account", "window"]), st.none() | ACCOUNT_KEYS, INSTANTS)
def test_a_key_names_its_part(customer: str, kind: str, account: tuple | None, number: int) -> None:
    """A changelog key reads back as the part that it was made of, whatever characters the names hold."""
    part = Part(customer, kind, account, number)

    assert parse_part(part.key()) == part
    assert split_key(part.key())[0].decode() == customer
    assert join_key(*split_key(part.key())) == part.key()


@pytest.mark.parametrize(
    "key", [b"", b"acme", b"acme\x00head", b"acme\x00head\x00x", b"a\x00b\x000\x00c", b"\xff\x00a\x000"]
)
def test_a_foreign_key_is_a_value_error(key: bytes) -> None:
    """A key that is not ours is told, not guessed at."""
    with pytest.raises(ValueError, match=r".+"):
        parse_part(key)


@settings(deadline=None)
@given(STATES, SEGMENTS)
def test_a_pack_comes_back(state: CustomerState, segments: list[OpenSegment]) -> None:
    """Watermark, numbers, wallet beyond 64 bits, grants, accounts with their counters and open segments survive."""
    back = CustomerState("acme")

    restored = restore_pack(back, encode_pack(state, segments, with_accounts=True))

    assert (snapshot(back), restored) == (snapshot(state), segments)
    assert list(back.accounts) == list(state.accounts)


@settings(deadline=None)
@given(STATES, SEGMENTS)
def test_a_pack_may_leave_out_the_accounts(state: CustomerState, segments: list[OpenSegment]) -> None:
    """Where the accounts are parts of their own, the pack holds all but them."""
    back = CustomerState("acme")

    restored = restore_pack(back, encode_pack(state, segments, with_accounts=False))

    assert (snapshot(back), restored) == (snapshot(state) | {"accounts": {}}, segments)


def test_untouched_counters_are_not_written() -> None:
    """A window that was only looked at, or of which a threshold is remembered, takes no bytes."""
    untouched = Counters({("a", "", -1): Used(0, alert_from=80)}, {("b", "", -1): Spent(0, 0, alert_from=80)})
    touched = Counters({("a", "", -1): Used(1, alert_from=80)}, {("b", "", -1): Spent(0, 5, alert_from=80)})
    state = CustomerState("acme", accounts={("team", 1, "p"): Account(7, {(PERIOD, 0): untouched, (0, 3): touched})})
    back = CustomerState("acme")

    restore_pack(back, encode_pack(state, [], with_accounts=True))

    kept = Counters({("a", "", -1): Used(1)}, {("b", "", -1): Spent(0, 5)})
    assert back.accounts == {
        ("team", 1, "p"): Account(7, {(0, 3): kept}, operations=back.accounts["team", 1, "p"].operations)
    }
    assert restore_window(encode_window(untouched)) == Counters()


@given(INSTANTS, TIERS)
def test_an_account_comes_back(retires_us: int, tiers: dict[int, int]) -> None:
    """Retirement and tiers survive; windows and operations are parts of their own."""
    back = restore_account(encode_account(Account(retires_us, tiers=tiers)))

    assert (back.retires_us, back.tiers, back.windows, len(back.operations)) == (retires_us, tiers, {}, 0)


@given(COUNTERS)
def test_a_window_comes_back(counters: Counters) -> None:
    """The pools and budgets of a day survive, hours and charges beyond 64 bits included."""
    assert restore_window(encode_window(counters)) == counters


@given(COUNTS, COUNTS)
def test_positions_come_back(events: int, grants: int) -> None:
    """Up to where everything is written survives."""
    assert restore_positions(encode_positions(Positions(events, grants))) == Positions(events, grants)


@given(WINDOWS)
def test_a_window_is_named_by_one_number(window: tuple[int, int]) -> None:
    """The number of a window's part names its day, or the period, and its shelf."""
    number = window_number(window)

    assert number >= 0
    assert window_of_number(number) == window


PACK = b"[%d,1,0,[],[],1,1,[],[[null,0,%d]]]\n%b"
SOUND = PACK % (7, 3, b"abc")


def pack_of(text: bytes) -> list[OpenSegment]:
    return restore_pack(CustomerState("acme"), text)


def test_a_pack_is_a_line_of_json_and_digests() -> None:
    """Its form is that of the changelogs out there: another would need a way to read the old one."""
    assert pack_of(SOUND) == [OpenSegment(None, 0, b"abc")]
    assert (
        encode_pack(CustomerState("acme", 7, 1, events_applied=1, grants_applied=1), pack_of(SOUND), with_accounts=True)
        == SOUND
    )


@pytest.mark.parametrize("end", range(len(SOUND)))
def test_a_pack_that_is_cut_off_is_refused(end: int) -> None:
    """No beginning of a pack is taken for a whole one."""
    with pytest.raises(ValueError, match="a stored "):
        pack_of(SOUND[:end])


@pytest.mark.parametrize(
    "damaged",
    [
        lambda: pack_of(PACK % (1 << 63, 0, b"")),
        lambda: pack_of(PACK % (7, 3, b"abcd")),
        lambda: pack_of(PACK % (7, -3, b"")),
        lambda: pack_of(b'{"watermark_ms":7}\n'),
        lambda: restore_account(b'{"retires_us":"soon","tiers":{}}'),
        lambda: restore_window(b'{"pools":[["a","",-1]],"budgets":[]}'),
        lambda: check_segment(b"i" * (IDENTITY_SIZE + 1), IDENTITY_SIZE),
        lambda: check_segment(b"o", DIGEST_SIZE),
    ],
)
def test_a_damaged_part_is_refused(damaged: Callable[[], object]) -> None:
    """What cannot have been written is a ValueError when it is read, not a wrong state or an error much later."""
    with pytest.raises(ValueError, match="a stored "):
        damaged()


@pytest.mark.parametrize("entries", [0, 1, 100])
@pytest.mark.parametrize("size", [DIGEST_SIZE, IDENTITY_SIZE])
def test_a_segment_of_whole_entries_is_sound(entries: int, size: int) -> None:
    """Any number of entries is a segment."""
    check_segment(b"e" * (entries * size), size)

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.states import (
    IDENTITY_SIZE,
    Part,
    encode_account,
    encode_head,
    encode_identity,
    encode_window,
    parse_part,
    restore_account,
    restore_head,
    restore_identities,
    restore_operations,
    restore_window,
    window_number,
    window_of_number,
)
from pipeline.domain.events import STRING_MAX
from pipeline.domain.grants import Grant
from pipeline.domain.instants import DAY_US
from pipeline.domain.state import PERIOD, Account, Counters, CustomerState, GrantPool, Identity, Spent

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=STRING_MAX)
COUNTS = st.integers(0, 10**12)
AMOUNTS = st.integers(-(10**38), 10**38)
INSTANTS = st.integers(-(6 * 10**16), 3 * 10**17)
KEYS = st.tuples(NAMES, st.just("") | NAMES, st.just(-1) | INSTANTS)
COUNTERS = st.builds(
    Counters,
    pools=st.dictionaries(KEYS, st.integers(0, 10**24), max_size=5),
    budgets=st.dictionaries(KEYS, st.builds(Spent, st.integers(0, 10**24), AMOUNTS), max_size=5),
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


@given(NAMES, st.sampled_from(["head", "account", "window"]), st.none() | st.tuples(NAMES, COUNTS, NAMES), INSTANTS)
def test_a_key_names_its_part(customer: str, kind: str, account: tuple | None, number: int) -> None:
    """A changelog key reads back as the part that it was made of, whatever characters the names hold."""
    part = Part(customer, kind, account, number)

    assert parse_part(part.key()) == part


@pytest.mark.parametrize(
    "key", [b"", b"acme", b"acme\x00head", b"acme\x00head\x00x", b"a\x00b\x000\x00c", b"\xff\x00a\x000"]
)
def test_a_foreign_key_is_a_value_error(key: bytes) -> None:
    """A key that is not ours is told, not guessed at."""
    with pytest.raises(ValueError, match=r".+"):
        parse_part(key)


@given(
    st.integers(-1, 2**62), COUNTS, AMOUNTS, st.sets(NAMES, max_size=5), st.lists(st.tuples(GRANTS, INSTANTS, COUNTS), max_size=3)
)  # fmt: skip
def test_a_head_comes_back(watermark_ms: int, seq: int, wallet_pico: int, ids: set[str], grants: list) -> None:
    """Watermark, numbers, wallet beyond 64 bits, grant ids and grants survive."""
    pools = [GrantPool(*grant) for grant in grants]
    state = CustomerState("acme", watermark_ms, seq, wallet_pico, ids, pools, events_applied=7, grants_applied=9)
    back = CustomerState("acme")

    restore_head(back, encode_head(state))

    assert back == state


@given(INSTANTS, st.dictionaries(st.integers(-1, 50), COUNTS, max_size=5))
def test_an_account_comes_back(retires_us: int, tiers: dict[int, int]) -> None:
    """Retirement and tiers survive; windows and operations are parts of their own."""
    account = Account(retires_us, tiers=tiers)

    assert restore_account(encode_account(account)) == account


@given(COUNTERS)
def test_a_window_comes_back(counters: Counters) -> None:
    """The pools and budgets of a day survive, hours and charges beyond 64 bits included."""
    assert restore_window(encode_window(counters)) == counters


@given(
    st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 2**62), st.binary(min_size=16, max_size=16)))
)
def test_identities_come_back_from_their_packed_form(entries: list[tuple[bytes, int, bytes]]) -> None:
    """A segment is a row of entries of 40 bytes and gives them back in order."""
    identities = [(digest, Identity(accepted_ms, content)) for digest, accepted_ms, content in entries]

    segment = b"".join(encode_identity(digest, identity) for digest, identity in identities)

    assert restore_identities(segment) == identities
    assert len(segment) == 40 * len(entries) == IDENTITY_SIZE * len(entries)


@given(st.lists(st.binary(min_size=16, max_size=16)))
def test_operations_come_back_from_their_packed_form(digests: list[bytes]) -> None:
    """A segment of operations is a row of digests."""
    assert restore_operations(b"".join(digests)) == digests


@given(st.just(PERIOD) | st.integers(0, 60_000).map(lambda day: day * DAY_US), st.integers(0, 255))
def test_a_window_is_named_by_one_number(start_us: int, shelf: int) -> None:
    """The number of a window's part names its day, or the period, and its shelf."""
    number = window_number((start_us, shelf))

    assert number >= 0
    assert window_of_number(number) == (start_us, shelf)


HEAD = b'{"watermark_ms":%d,"seq":1,"wallet_pico":0,"grant_ids":[],"grants":[],"events_applied":1,"grants_applied":1}'


@pytest.mark.parametrize(
    "damaged",
    [
        lambda: restore_head(CustomerState("acme"), HEAD % (1 << 63)),
        lambda: restore_head(CustomerState("acme"), HEAD[:-9] % 1),
        lambda: restore_account(b'{"retires_us":"soon","tiers":{}}'),
        lambda: restore_window(b'{"pools":[["a","",-1]],"budgets":[]}'),
        lambda: restore_identities(b"i" * (IDENTITY_SIZE + 1)),
        lambda: restore_operations(b"o"),
    ],
)
def test_a_damaged_part_is_refused(damaged: Callable[[], object]) -> None:
    """What cannot have been written is a ValueError when it is read, not a wrong state or an error much later."""
    with pytest.raises(ValueError, match="a stored "):
        damaged()

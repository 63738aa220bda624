"""Customer states to changelog records and back.

A customer's state is kept in parts. The small and ever changing ones are one record, the pack: the head, the digests in
open segments and, while they are few, the accounts with their windows. When those have become many, each is a part of its
own, written only when it changed; so are closed segments of digests. Keys are text joined by NUL, which no id holds;
values are JSON, digests packed bytes, the pack a line of JSON with the open segments behind it.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from pipeline.domain.grants import Grant
from pipeline.domain.instants import DAY_US
from pipeline.domain.state import (
    PERIOD,
    Account,
    AccountKey,
    CounterKey,
    Counters,
    CustomerState,
    GrantPool,
    Hold,
    Spent,
    Used,
    WindowKey,
)

Decoded = TypeVar("Decoded")
Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""Times and offsets. A stored one that is larger is damaged, and could not be written again."""
PACK = "pack"
ACCOUNT = "account"
WINDOW = "window"
IDENTITIES = "identities"
OPERATIONS = "operations"
_SEPARATOR = "\x00"
POSITIONS_KEY = b"\x00positions"
"""Of the one record a partition that belongs to no customer: no customer's id is empty."""
CATALOG_KEY = b"\x00catalog"
"""Of the one record a partition that names the catalog version in force (R10.4)."""
PARTITION_KEYS = frozenset({POSITIONS_KEY, CATALOG_KEY})
"""Of the records that are the partition's, not a customer's."""
_SHELF_BITS = 8


class Part(NamedTuple):
    """Which part of which customer's state a changelog record holds.

    `account` is empty for the pack and the identities; `number` is a window's (see `window_number`) or a segment's.
    """

    customer: str
    kind: str
    account: AccountKey | None = None
    number: int = 0

    def key(self) -> bytes:
        """Return the changelog key."""
        account = () if self.account is None else (self.account[0], str(self.account[1]), self.account[2])
        return _SEPARATOR.join((self.customer, self.kind, str(self.number), *account)).encode()


def split_key(key: bytes) -> tuple[bytes, bytes]:
    """Return a changelog key's customer, and which part it names. Raises ValueError for a key that is not ours."""
    customer, separator, part = key.partition(b"\x00")
    if not separator or not customer:
        raise ValueError(f"a state's key names no customer and part: {key!r}")
    return customer, part


def join_key(customer: bytes, part: bytes) -> bytes:
    """Return the changelog key of what `split_key` has split."""
    return b"%b\x00%b" % (customer, part)


def parse_part(key: bytes) -> Part:
    """Return the part that a changelog key names. Raises ValueError for a key that is not ours."""
    customer, kind, number, *account = key.decode().split(_SEPARATOR)
    if not account:
        return Part(customer, kind, None, int(number))
    plan, version, period = account
    return Part(customer, kind, (plan, int(version), period), int(number))


class Positions(msgspec.Struct, frozen=True):
    """Up to which offset (exclusive) everything of a partition's two source topics is rated and written."""

    events: int
    grants: int


class OpenSegment(NamedTuple):
    """Digests that are still added to: of a customer's identities, or of an account's operations."""

    account: AccountKey | None
    number: int
    content: bytes


PoolRows = list[tuple[str, str, int, int]]
BudgetRows = list[tuple[str, str, int, int, int]]


class _Counters(msgspec.Struct, gc=False):
    pools: PoolRows
    budgets: BudgetRows


class _Account(msgspec.Struct, gc=False):
    retires_us: Int64
    tiers: dict[int, int]


class _PackedAccount(msgspec.Struct, array_like=True, gc=False):
    plan: str
    version: int
    period: str
    retires_us: Int64
    tiers: dict[int, int]
    windows: list[tuple[int, PoolRows, BudgetRows]]


class _Pack(msgspec.Struct, array_like=True, gc=False):
    watermark_ms: Int64
    seq: Int64
    wallet_pico: int
    grant_ids: list[str]
    grants: list[tuple[Grant, int, int]]
    events_applied: Int64
    grants_applied: Int64
    accounts: list[_PackedAccount]
    segments: list[tuple[AccountKey | None, int, int]]
    """Account, number and size of the open segments."""


class _HoldingPack(_Pack, array_like=True, gc=False):
    """A pack with reservations or closed periods, which many customers never have."""

    holds: list[Hold] = []
    closed_us: dict[str, Int64] = {}


_encode = msgspec.json.Encoder().encode
_decode_positions = msgspec.json.Decoder(Positions).decode
_decode_pack = msgspec.json.Decoder(_HoldingPack).decode
_decode_account = msgspec.json.Decoder(_Account).decode
_decode_counters = msgspec.json.Decoder(_Counters).decode


def encode_positions(positions: Positions) -> bytes:
    """Return the value of the positions record."""
    return _encode(positions)


def restore_positions(value: bytes) -> Positions:
    """Return the positions in a changelog value. Raises ValueError."""
    return _decoded(_decode_positions, value)


def _decoded(decode: Callable[[bytes], Decoded], value: bytes) -> Decoded:
    try:
        return decode(value)
    except msgspec.MsgspecError as error:
        raise ValueError(f"a stored state cannot be read: {error}") from None


def encode_pack(state: CustomerState, segments: Sequence[OpenSegment], *, with_accounts: bool) -> bytes:
    """Return what every record of the customer changes, and the accounts unless they are parts of their own."""
    fields = (
        state.watermark_ms,
        state.seq,
        state.wallet_pico,
        sorted(state.grant_ids),
        [(pool.grant, pool.effective_us, pool.balance) for pool in state.grants],
        state.events_applied,
        state.grants_applied,
        [_packed_account(key, account) for key, account in state.accounts.items()] if with_accounts else [],
        [(segment.account, segment.number, len(segment.content)) for segment in segments],
    )
    pack = _Pack(*fields)
    if state.holds or state.closed_us:
        pack = _HoldingPack(*fields, holds=list(state.holds.values()), closed_us=state.closed_us)
    return b"".join((_encode(pack), b"\n", *[segment.content for segment in segments]))


def restore_pack(state: CustomerState, value: bytes) -> list[OpenSegment]:
    """Put a pack back into a state, all but the open segments, which are returned. Raises ValueError."""
    text, _, content = value.partition(b"\n")
    pack = _decoded(_decode_pack, text)
    state.watermark_ms = pack.watermark_ms
    state.seq = pack.seq
    state.wallet_pico = pack.wallet_pico
    state.grant_ids = set(pack.grant_ids)
    state.grants = [GrantPool(*pool) for pool in pack.grants]
    state.holds = {(hold.usage.source, hold.usage.id): hold for hold in pack.holds}
    state.closed_us = pack.closed_us
    state.events_applied = pack.events_applied
    state.grants_applied = pack.grants_applied
    for each in pack.accounts:
        windows = {window_of_number(number): _counters_of(pools, budgets) for number, pools, budgets in each.windows}
        state.accounts[each.plan, each.version, each.period] = Account(each.retires_us, windows, each.tiers)
    segments = []
    at = 0
    for account, number, size in pack.segments:
        segments.append(OpenSegment(account, number, content[at : at + size]))
        at += size
    if at != len(content):
        raise ValueError(f"a stored state of {state.customer!r} has {len(content)} bytes of digests, not {at}")
    return segments


def _packed_account(key: AccountKey, account: Account) -> _PackedAccount:
    windows = []
    for window, counters in account.windows.items():
        pools, budgets = _pool_rows(counters), _budget_rows(counters)
        if pools or budgets:
            windows.append((window_number(window), pools, budgets))
    return _PackedAccount(*key, account.retires_us, account.tiers, windows)


def _pool_rows(counters: Counters) -> PoolRows:
    return [
        (identity, scope_value, hour, used.balance)
        for (identity, scope_value, hour), used in counters.pools.items()
        if used.balance
    ]


def _budget_rows(counters: Counters) -> BudgetRows:
    return [
        (identity, scope_value, hour, spent.units, spent.charge_pico)
        for (identity, scope_value, hour), spent in counters.budgets.items()
        if spent.units or spent.charge_pico
    ]


def _counters_of(pools: PoolRows, budgets: BudgetRows) -> Counters:
    used: dict[CounterKey, Used] = {
        (identity, scope_value, hour): Used(balance) for identity, scope_value, hour, balance in pools
    }
    spent: dict[CounterKey, Spent] = {
        (identity, scope_value, hour): Spent(units, charge_pico)
        for identity, scope_value, hour, units, charge_pico in budgets
    }
    return Counters(used, spent)


def encode_account(account: Account) -> bytes:
    """Return an account without its windows and operations."""
    return _encode(_Account(account.retires_us, account.tiers))


def restore_account(value: bytes) -> Account:
    """Return the account in a changelog value, without windows and operations. Raises ValueError."""
    account = _decoded(_decode_account, value)
    return Account(account.retires_us, tiers=account.tiers)


def window_number(key: WindowKey) -> int:
    """Return the number of a window's part: 0 to 255 are the period's shelves, then come those of the days."""
    start_us, shelf = key
    return shelf if start_us == PERIOD else ((start_us // DAY_US + 1) << _SHELF_BITS) | shelf


def window_of_number(number: int) -> WindowKey:
    """Return the window that a part's number names."""
    day, shelf = number >> _SHELF_BITS, number & 0xFF
    return (PERIOD if day == 0 else (day - 1) * DAY_US, shelf)


def encode_window(counters: Counters) -> bytes:
    """Return the counters of a window."""
    return _encode(_Counters(_pool_rows(counters), _budget_rows(counters)))


def restore_window(value: bytes) -> Counters:
    """Return the counters of a window in a changelog value. Raises ValueError."""
    counters = _decoded(_decode_counters, value)
    return _counters_of(counters.pools, counters.budgets)


def check_segment(content: bytes, size: int) -> None:
    """Check that a segment holds whole entries; a part of one would be taken for another digest. Raises ValueError."""
    if len(content) % size:
        raise ValueError(f"a stored segment has {len(content)} bytes, which are no entries of {size}")

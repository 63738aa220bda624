"""Customer states to changelog records and back.

A customer's state is kept in parts: the head, an account a plan version and period, its windows by shelf, and the digests
of identities and operations in segments. The small and ever changing ones are written together, as one record, the pack;
the others on their own, only when they changed. Keys are text joined by NUL, which no id holds; values are JSON, digests
packed bytes, the pack a MessagePack map of parts.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from pipeline.domain.dedupe import DIGEST_SIZE
from pipeline.domain.grants import Grant
from pipeline.domain.instants import DAY_US
from pipeline.domain.state import (
    PERIOD,
    Account,
    AccountKey,
    Counters,
    CustomerState,
    GrantPool,
    Identity,
    Spent,
    WindowKey,
)

Decoded = TypeVar("Decoded")
Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""Times and offsets. A stored one that is larger is damaged, and could not be written again."""
PACK = "pack"
HEAD = "head"
ACCOUNT = "account"
WINDOW = "window"
IDENTITIES = "identities"
OPERATIONS = "operations"
_SEPARATOR = "\x00"
POSITIONS_KEY = b"\x00positions"
"""Of the one record a partition that belongs to no customer: no customer's id is empty."""
_MS_SIZE = 8
_SHELF_BITS = 8
IDENTITY_SIZE = DIGEST_SIZE + _MS_SIZE + DIGEST_SIZE
"""Bytes of one remembered identity: digest, when it was accepted, digest of its content."""


class Part(NamedTuple):
    """Which part of which customer's state a changelog record holds.

    `account` is empty for the pack, the head and the identities; `number` is a window's (see `window_number`) or a segment's.
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


class _Head(msgspec.Struct):
    watermark_ms: Int64
    seq: Int64
    wallet_pico: int
    grant_ids: list[str]
    grants: list[tuple[Grant, int, int]]
    events_applied: Int64
    grants_applied: Int64


class _Counters(msgspec.Struct):
    pools: list[tuple[str, str, int, int]]
    budgets: list[tuple[str, str, int, int, int]]


class _Account(msgspec.Struct):
    retires_us: Int64
    tiers: dict[int, int]


_encode_pack = msgspec.msgpack.Encoder().encode
_decode_pack = msgspec.msgpack.Decoder(dict[bytes, bytes]).decode
_encode = msgspec.json.Encoder().encode
_decode_positions = msgspec.json.Decoder(Positions).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_account = msgspec.json.Decoder(_Account).decode
_decode_counters = msgspec.json.Decoder(_Counters).decode


def encode_pack(parts: Iterable[tuple[Part, bytes]]) -> bytes:
    """Return parts of one customer as one value."""
    return _encode_pack({split_key(part.key())[1]: value for part, value in parts})


def restore_pack(customer: str, value: bytes) -> dict[Part, bytes]:
    """Return the parts of a customer in a pack. Raises msgspec.DecodeError, ValueError."""
    name = customer.encode()
    return {parse_part(join_key(name, part)): value for part, value in _decode_pack(value).items()}


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


def _check_packed(value: bytes, size: int) -> None:
    """Check that a segment holds whole entries; a part of one would be taken for another digest."""
    if len(value) % size:
        raise ValueError(f"a stored segment has {len(value)} bytes, which are no entries of {size}")


def encode_head(state: CustomerState) -> bytes:
    """Return the part that every record of the customer changes."""
    return _encode(
        _Head(
            watermark_ms=state.watermark_ms,
            seq=state.seq,
            wallet_pico=state.wallet_pico,
            grant_ids=sorted(state.grant_ids),
            grants=[(pool.grant, pool.effective_us, pool.balance) for pool in state.grants],
            events_applied=state.events_applied,
            grants_applied=state.grants_applied,
        )
    )


def restore_head(state: CustomerState, value: bytes) -> None:
    """Put a head back into a state. Raises ValueError."""
    head = _decoded(_decode_head, value)
    state.watermark_ms = head.watermark_ms
    state.seq = head.seq
    state.wallet_pico = head.wallet_pico
    state.grant_ids = set(head.grant_ids)
    state.grants = [GrantPool(*pool) for pool in head.grants]
    state.events_applied = head.events_applied
    state.grants_applied = head.grants_applied


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
    return _encode(_counters_out(counters))


def restore_window(value: bytes) -> Counters:
    """Return the counters of a window in a changelog value. Raises ValueError."""
    return _counters_in(_decoded(_decode_counters, value))


def _counters_out(counters: Counters) -> _Counters:
    return _Counters(
        [(*key, used) for key, used in counters.pools.items()],
        [(*key, spent.units, spent.charge_pico) for key, spent in counters.budgets.items()],
    )


def _counters_in(counters: _Counters) -> Counters:
    return Counters(
        {(identity, scope_value, hour): used for identity, scope_value, hour, used in counters.pools},
        {
            (identity, scope_value, hour): Spent(units, charge_pico)
            for identity, scope_value, hour, units, charge_pico in counters.budgets
        },
    )


def encode_identity(digest: bytes, identity: Identity) -> bytes:
    """Return one remembered identity as IDENTITY_SIZE bytes."""
    return digest + identity.accepted_ms.to_bytes(_MS_SIZE, "big", signed=True) + identity.content


def restore_identities(value: bytes) -> list[tuple[bytes, Identity]]:
    """Return the identities of a segment. Raises ValueError."""
    _check_packed(value, IDENTITY_SIZE)
    middle = DIGEST_SIZE + _MS_SIZE
    return [
        (
            value[at : at + DIGEST_SIZE],
            Identity(
                int.from_bytes(value[at + DIGEST_SIZE : at + middle], "big", signed=True),
                value[at + middle : at + IDENTITY_SIZE],
            ),
        )
        for at in range(0, len(value), IDENTITY_SIZE)
    ]


def restore_operations(value: bytes) -> list[bytes]:
    """Return the operation digests of a segment. Raises ValueError."""
    _check_packed(value, DIGEST_SIZE)
    return [value[at : at + DIGEST_SIZE] for at in range(0, len(value), DIGEST_SIZE)]

"""A customer's state together with which parts of it must be written."""

from collections.abc import Iterable, Iterator, Mapping

from pipeline.codec import states
from pipeline.codec.states import Part, parse_part
from pipeline.domain.dedupe import HORIZON_MS
from pipeline.domain.instants import DAY_US
from pipeline.domain.rating import Rated
from pipeline.domain.state import Account, AccountKey, CustomerState, WindowKey
from pipeline.rating.segments import SegmentLog

_NEVER_MS = 1 << 62
PACKED_COUNTERS_MAX = 16
"""So many accounts and windows go into the pack; more of them would be written again and again with it."""
PartValue = tuple[Part, bytes]
StateRecord = tuple[bytes, bytes | None]
"""Changelog key and value; None deletes."""


class TrackedCustomer:
    """A customer's state, and what changed in it since it was last written."""

    __slots__ = ("_changed", "_day", "_dropped", "_identities", "_known_windows", "_operations", "_spread", "state")

    def __init__(self, state: CustomerState) -> None:
        self.state = state
        self._day = _day_of(state)
        self._spread = False
        """The accounts and windows have become many: each is written on its own, when it changed."""
        self._changed: set[tuple[AccountKey, WindowKey | None]] = set()
        self._known_windows: dict[AccountKey, set[WindowKey]] = {}
        self._identities = SegmentLog()
        self._operations: dict[AccountKey, SegmentLog] = {}
        self._dropped: list[Part] = []

    def note(self, rated: Rated | None) -> None:
        """Note what rating an event changed; None for a duplicate or a grant, which change the head only."""
        self._note_watermark()
        if rated is None:
            return
        key = rated.account
        self._changed.add((key, None))
        if rated.windows:
            self._changed.update((key, window) for window in rated.windows)
            self._known_windows.setdefault(key, set()).update(rated.windows)
        identity = self.state.identities[rated.identity]
        self._identities.add(states.encode_identity(rated.identity, identity), identity.accepted_ms)
        if rated.operation is not None:
            self._operations.setdefault(key, SegmentLog()).add(rated.operation, _NEVER_MS)

    def _note_watermark(self) -> None:
        """Note what the state has forgotten if its watermark has entered another day (docs/rules.md, R6.2)."""
        day = _day_of(self.state)
        if day == self._day:
            return
        self._day = day
        expired = self._identities.take_expired(self.state.watermark_ms - HORIZON_MS)
        self._dropped += [self._part(states.IDENTITIES, None, number) for number in expired]
        for key, account in self.state.accounts.items():
            if account.retires_us <= self.state.watermark_ms * 1000:
                self._drop_operations(key)
                self._drop_windows(key)

    def _drop_operations(self, key: AccountKey) -> None:
        log = self._operations.get(key)
        if log is not None:
            expired = log.take_expired(_NEVER_MS + 1)
            self._dropped += [self._part(states.OPERATIONS, key, number) for number in expired]

    def _drop_windows(self, key: AccountKey) -> None:
        known = self._known_windows.get(key, set())
        gone = known - self.state.accounts[key].windows.keys()
        known -= gone
        self._changed -= {(key, window) for window in gone}
        if self._spread:
            self._dropped += [self._part(states.WINDOW, key, states.window_number(window)) for window in gone]

    def take_changed(self) -> list[StateRecord]:
        """Return the changelog records of what changed since the last call; the pack always is among them."""
        alone = list(self._counters_alone())
        packed = [(self._part(states.HEAD), states.encode_head(self.state))]
        if not self._spread:
            packed += self._counters(self._all_counters())
        for kind, key, log in self._logs():
            alone += [(self._part(kind, key, number), value) for number, value in log.take_closed()]
            packed += [(self._part(kind, key, number), value) for number, value in log.still_open()]
        records: list[StateRecord] = [(part.key(), None) for part in self._dropped]
        records.append((self._part(states.PACK).key(), states.encode_pack(packed)))
        records += [(part.key(), value) for part, value in alone]
        self._changed.clear()
        self._dropped.clear()
        return records

    def _counters_alone(self) -> Iterator[PartValue]:
        """Yield the accounts and windows that are written on their own: once they are many, those that changed."""
        if self._spread:
            yield from self._counters(self._changed)
        elif sum(1 + len(account.windows) for account in self.state.accounts.values()) > PACKED_COUNTERS_MAX:
            self._spread = True
            yield from self._counters(self._all_counters())

    def _all_counters(self) -> Iterator[tuple[AccountKey, WindowKey | None]]:
        for key, account in self.state.accounts.items():
            yield key, None
            for window in account.windows:
                yield key, window

    def _counters(self, which: Iterable[tuple[AccountKey, WindowKey | None]]) -> Iterator[PartValue]:
        for key, window in which:
            account = self.state.accounts[key]
            if window is None:
                yield self._part(states.ACCOUNT, key), states.encode_account(account)
            else:
                part = self._part(states.WINDOW, key, states.window_number(window))
                yield part, states.encode_window(account.windows[window])

    def _logs(self) -> Iterator[tuple[str, AccountKey | None, SegmentLog]]:
        yield states.IDENTITIES, None, self._identities
        for key, log in self._operations.items():
            yield states.OPERATIONS, key, log

    def restore(self, records: Mapping[bytes, bytes]) -> None:
        """Put a new customer back, from its changelog records. Raises ValueError when they are not a whole state."""
        parts = {parse_part(key): value for key, value in records.items()}
        self._spread = any(part.kind in (states.ACCOUNT, states.WINDOW) for part in parts)
        pack = parts.pop(self._part(states.PACK), None)
        if pack is not None:
            parts |= states.restore_pack(self.state.customer, pack)
        if not any(part.kind == states.HEAD for part in parts):
            raise ValueError(f"the state of customer {self.state.customer!r} is not whole: it has no head")
        for part in sorted(parts, key=lambda part: (part.kind != states.ACCOUNT, part.number)):
            self._restore_part(part, parts[part])
        self._day = _day_of(self.state)

    def _restore_part(self, part: Part, value: bytes) -> None:
        state = self.state
        if part.kind == states.HEAD:
            states.restore_head(state, value)
        elif part.kind == states.IDENTITIES:
            entries = states.restore_identities(value)
            state.identities.update(entries)
            self._identities.restore(part.number, value, max(identity.accepted_ms for _, identity in entries))
        elif part.account is None:
            raise ValueError(f"a state of an unknown kind: {part.kind!r}")
        elif part.kind == states.ACCOUNT:
            state.accounts[part.account] = states.restore_account(value)
        else:
            self._restore_account_part(part, part.account, state.accounts[part.account], value)

    def _restore_account_part(self, part: Part, key: AccountKey, account: Account, value: bytes) -> None:
        if part.kind == states.WINDOW:
            window = states.window_of_number(part.number)
            account.windows[window] = states.restore_window(value)
            self._known_windows.setdefault(key, set()).add(window)
        elif part.kind == states.OPERATIONS:
            account.operations.update(states.restore_operations(value))
            self._operations.setdefault(key, SegmentLog()).restore(part.number, value, _NEVER_MS)
        else:
            raise ValueError(f"a state of an unknown kind: {part.kind!r}")

    def _part(self, kind: str, account: AccountKey | None = None, number: int = 0) -> Part:
        return Part(self.state.customer, kind, account, number)


def _day_of(state: CustomerState) -> int:
    return state.watermark_ms * 1000 // DAY_US

"""A customer's state together with which parts of it must be written."""

from pipeline.codec import states
from pipeline.codec.states import Part
from pipeline.domain.dedupe import HORIZON_MS
from pipeline.domain.instants import DAY_US
from pipeline.domain.rating import Rated
from pipeline.domain.state import Account, AccountKey, CustomerState, WindowKey
from pipeline.rating.segments import SegmentLog

_NEVER_MS = 1 << 62
StateRecord = tuple[bytes, bytes | None]
"""Changelog key and value; None deletes."""


class TrackedCustomer:
    """A customer's state, and what changed in it since it was last written."""

    __slots__ = ("_accounts", "_day", "_dropped", "_identities", "_known_windows", "_operations", "_windows", "state")

    def __init__(self, state: CustomerState) -> None:
        self.state = state
        self._day = _day_of(state)
        self._accounts: set[AccountKey] = set()
        self._windows: set[tuple[AccountKey, WindowKey]] = set()
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
        self._accounts.add(key)
        if rated.windows:
            self._windows.update((key, window) for window in rated.windows)
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
        self._windows -= {(key, window) for window in gone}
        self._dropped += [self._part(states.WINDOW, key, states.window_number(window)) for window in gone]

    def take_changed(self) -> list[StateRecord]:
        """Return the changelog records of what changed since the last call; the head always is among them."""
        state = self.state
        records: list[StateRecord] = [(part.key(), None) for part in self._dropped]
        records.append((self._part(states.HEAD).key(), states.encode_head(state)))
        records.extend(
            (self._part(states.ACCOUNT, key).key(), states.encode_account(state.accounts[key]))
            for key in self._accounts
        )
        records.extend(
            (
                self._part(states.WINDOW, key, states.window_number(window)).key(),
                states.encode_window(state.accounts[key].windows[window]),
            )
            for key, window in self._windows
        )
        records.extend(
            (self._part(states.IDENTITIES, None, number).key(), value)
            for number, value in self._identities.take_changed()
        )
        records.extend(
            (self._part(states.OPERATIONS, key, number).key(), value)
            for key, log in self._operations.items()
            for number, value in log.take_changed()
        )
        self._accounts.clear()
        self._windows.clear()
        self._dropped.clear()
        return records

    def restore(self, parts: dict[Part, bytes]) -> None:
        """Put the parts of a new customer back, in any order. Raises ValueError when they are not a whole state."""
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
            self._identities.restore(part.number, max(identity.accepted_ms for _, identity in entries))
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
            self._operations.setdefault(key, SegmentLog()).restore(part.number, _NEVER_MS)
        else:
            raise ValueError(f"a state of an unknown kind: {part.kind!r}")

    def _part(self, kind: str, account: AccountKey | None = None, number: int = 0) -> Part:
        return Part(self.state.customer, kind, account, number)


def _day_of(state: CustomerState) -> int:
    return state.watermark_ms * 1000 // DAY_US

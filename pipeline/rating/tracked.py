"""A customer's state together with which parts of it must be written."""

from collections.abc import Iterable, Iterator, Mapping

from pipeline.codec import states
from pipeline.codec.states import OpenSegment, Part, parse_part
from pipeline.domain.dedupe import HORIZON_MS, accepted_ms
from pipeline.domain.digests import DIGEST_SIZE, DigestTable
from pipeline.domain.instants import DAY_US
from pipeline.domain.state import IDENTITY_SIZE, AccountKey, CustomerState, WindowKey
from pipeline.rating.segments import SegmentLog

PACKED_COUNTERS_MAX = 16
"""So many accounts and windows go into the pack; more of them would be written again and again with it."""
StateRecord = tuple[bytes, bytes | None]
"""Changelog key and value; None deletes."""


class TrackedCustomer:
    """A customer's state, and what changed in it since it was last written."""

    __slots__ = (
        "_day",
        "_dropped",
        "_identities",
        "_operations",
        "_pack_key",
        "_spread",
        "_written_windows",
        "pack",
        "state",
    )

    def __init__(self, state: CustomerState) -> None:
        self.state = state
        self.pack = b""
        """As it was written or read last."""
        self._pack_key = Part(state.customer, states.PACK).key()
        self._day = _day_of(state)
        self._spread = False
        """The accounts and windows have become many: each is written on its own, when it changed."""
        self._written_windows: set[tuple[AccountKey, WindowKey]] = set()
        """Those that are parts of their own."""
        self._identities = SegmentLog(IDENTITY_SIZE, accepted_ms)
        self._operations: dict[AccountKey, SegmentLog] = {}
        self._dropped: list[Part] = []

    def take_changed(self) -> list[StateRecord]:
        """Return the changelog records of what changed since the last call; the pack always is among them."""
        state = self.state
        if _day_of(state) != self._day:
            if self._day >= 0:
                self._note_forgotten()
            self._day = _day_of(state)
        records: list[StateRecord] = [(part.key(), None) for part in self._dropped]
        self._dropped.clear()
        if state.changed:
            records += self._changed_counters()
        segments: list[OpenSegment] = []
        records += self._digests(None, self._identities, state.identities, segments)
        for key, account in state.accounts.items():
            if account.operations:
                log = self._operations.setdefault(key, SegmentLog(DIGEST_SIZE))
                log.table = account.operations
                records += self._digests(key, log, account.operations, segments)
        self.pack = states.encode_pack(state, segments, with_accounts=not self._spread)
        records.append((self._pack_key, self.pack))
        return records

    def discard_changed(self) -> None:
        """Forget what has changed, where nobody writes it."""
        state = self.state
        state.changed.clear()
        state.answers.clear()
        state.identities.closed.clear()
        for account in state.accounts.values():
            account.operations.closed.clear()

    def is_small(self) -> bool:
        """Return whether the pack is all that there is of the customer."""
        return not (self._spread or self._identities.number or any(log.number for log in self._operations.values()))

    def relax(self) -> None:
        """Let go of what can be worked out or written again, of a customer who is not used for a while."""
        self.state.forget_tariffs()
        self.pack = b""

    def _note_forgotten(self) -> None:
        """Note what the state has forgotten since its watermark has entered another day (docs/rules.md, R6.2)."""
        state = self.state
        expired = self._identities.take_expired(state.watermark_ms - HORIZON_MS)
        self._dropped += [self._part(states.IDENTITIES, None, number) for number in expired]
        for key, account in state.accounts.items():
            log = self._operations.get(key)
            if log is not None and log.table is not account.operations:
                log.table = account.operations
                self._dropped += [self._part(states.OPERATIONS, key, number) for number in log.take_all()]

    def _changed_counters(self) -> Iterable[StateRecord]:
        """Return the accounts and windows that are written on their own: once they are many, those that changed."""
        state = self.state
        changed, state.changed = state.changed, []
        if self._spread:
            return list(self._counters(changed))
        for key, window in changed:
            _note_written(state, key, window)
        if sum(1 + len(account.windows) for account in state.accounts.values()) <= PACKED_COUNTERS_MAX:
            return ()
        self._spread = True
        return list(self._counters(self._all_counters()))

    def _all_counters(self) -> Iterator[tuple[AccountKey, WindowKey | None]]:
        for key, account in self.state.accounts.items():
            yield key, None
            for window in account.windows:
                yield key, window

    def _counters(self, which: Iterable[tuple[AccountKey, WindowKey | None]]) -> Iterator[StateRecord]:
        for key, window in which:
            if not _note_written(self.state, key, window):
                if window is not None and (key, window) in self._written_windows:
                    self._written_windows.remove((key, window))
                    yield self._part(states.WINDOW, key, states.window_number(window)).key(), None
                continue
            account = self.state.accounts[key]
            if window is None:
                yield self._part(states.ACCOUNT, key).key(), states.encode_account(account)
            else:
                self._written_windows.add((key, window))
                part = self._part(states.WINDOW, key, states.window_number(window))
                yield part.key(), states.encode_window(account.windows[window])

    def _digests(
        self, key: AccountKey | None, log: SegmentLog, table: DigestTable, segments: list[OpenSegment]
    ) -> Iterator[StateRecord]:
        """Yield the segments that were closed, and add the open one to those of the pack."""
        kind = states.IDENTITIES if key is None else states.OPERATIONS
        for number, content in log.take_closed(table):
            yield self._part(kind, key, number).key(), content
        if table.open:
            segments.append(OpenSegment(key, log.number, bytes(table.open)))

    def restore(self, records: Mapping[bytes, bytes]) -> None:
        """Put a new customer back, from its changelog records. Raises ValueError when they are not a whole state."""
        parts = {parse_part(key): value for key, value in records.items()}
        self._spread = any(part.kind in (states.ACCOUNT, states.WINDOW) for part in parts)
        pack = parts.pop(self._part(states.PACK), None)
        if pack is None:
            raise ValueError(f"the state of customer {self.state.customer!r} is not whole: it has no pack")
        self.pack = pack
        segments = states.restore_pack(self.state, pack)
        for part in sorted(parts, key=lambda part: (part.kind != states.ACCOUNT, part.number)):
            self._restore_part(part, parts[part])
        for segment in segments:
            log, table = self._log_and_table(segment.account)
            states.check_segment(segment.content, log.size)
            table.restore(segment.content, is_open=True)
            log.number = segment.number
        self._day = _day_of(self.state)

    def _restore_part(self, part: Part, value: bytes) -> None:
        accounts = self.state.accounts
        if part.kind in (states.IDENTITIES, states.OPERATIONS):
            log, table = self._log_and_table(part.account)
            states.check_segment(value, log.size)
            table.restore(value, is_open=False)
            log.restore_closed(part.number, value)
        elif part.account is None:
            raise ValueError(f"a state of an unknown kind: {part.kind!r}")
        elif part.kind == states.ACCOUNT:
            accounts[part.account] = states.restore_account(value)
        elif part.kind == states.WINDOW:
            window = states.window_of_number(part.number)
            accounts[part.account].windows[window] = states.restore_window(value)
            self._written_windows.add((part.account, window))
        else:
            raise ValueError(f"a state of an unknown kind: {part.kind!r}")

    def _log_and_table(self, key: AccountKey | None) -> tuple[SegmentLog, DigestTable]:
        if key is None:
            return self._identities, self.state.identities
        log = self._operations.setdefault(key, SegmentLog(DIGEST_SIZE))
        log.table = self.state.accounts[key].operations
        return log, log.table

    def _part(self, kind: str, account: AccountKey | None = None, number: int = 0) -> Part:
        return Part(self.state.customer, kind, account, number)


def _note_written(state: CustomerState, key: AccountKey, window: WindowKey | None) -> bool:
    """Note that an account (None) or window is as it was written, and return whether there still is one."""
    account = state.accounts[key]
    if window is None:
        account.changed = False
        return True
    counters = account.windows.get(window)
    if counters is None:
        return False
    counters.changed = False
    return True


def _day_of(state: CustomerState) -> int:
    return state.watermark_ms * 1000 // DAY_US

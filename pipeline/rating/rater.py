"""Records to lines, alerts and rejects, over the states of many customers (R2.3, R3.3)."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import msgspec

from pipeline.codec.records import decode_billing, decode_events, envelope_of, key_of, originals_of
from pipeline.codec.states import PACK, Part, join_key, split_key
from pipeline.codec.switches import switched_to
from pipeline.domain.admission import Envelope
from pipeline.domain.alerts import Alert
from pipeline.domain.catalog import Catalog
from pipeline.domain.closings import Close, Closing, apply_close
from pipeline.domain.events import Release, Reserve, UsageEvent
from pipeline.domain.lines import Line
from pipeline.domain.quota import QuotaRecord, quota_record
from pipeline.domain.rating import apply_grant, rate_event
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from pipeline.domain.reservations import apply_reservation
from pipeline.domain.state import CustomerState
from pipeline.domain.terms import TermsIndex
from pipeline.rating.tracked import TrackedCustomer

AWAKE_MAX = 10_000
"""So many customers of a partition are held unpacked between rounds, besides those with much to remember."""
_PACK_PART = split_key(Part("-", PACK).key())[1]


CatalogOf = Callable[[str], Catalog]
"""Digest to the catalog version. Raises KeyError for one that is not there."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected record or event (R2.3). `index` is its place in the record's array, None for a whole record."""

    record: Record
    index: int | None
    code: str
    message: str
    original: bytes


class Outcome(msgspec.Struct, gc=False):
    """What one record came to. `customer` is None when it left no trace in any state."""

    lines: list[Line] = []
    closings: list[Closing] = []
    alerts: list[Alert] = []
    dead_letters: list[DeadLetter] = []
    events: int = 0
    duplicates: int = 0
    reservations: int = 0
    """How many were asked for or released (R9)."""
    customer: TrackedCustomer | None = None


class Rater:
    """The states of the customers of one partition, or of a whole journal, and the rating of records over them.

    When the states are `durable`, what changes in them is written, and a record that its customer's state already holds
    is passed over: its effects were written with the state (docs/decisions/0005).
    """

    def __init__(self, catalog: Catalog, *, durable: bool, catalog_of: CatalogOf | None = None) -> None:
        self._catalog_of = catalog_of or _no_version
        self._durable = durable
        self._terms = TermsIndex(catalog)
        self._awake: dict[str, TrackedCustomer] = {}
        """In the order in which they woke."""
        self._large: dict[str, TrackedCustomer] = {}
        """Not used for a while, but with too much to remember to be put to sleep."""
        self._asleep: dict[bytes, bytes | dict[bytes, bytes]] = {}
        """Customer to the parts of the state as they are written, or to the pack alone when that is all there is."""

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take one changelog record back in recovery, in the order of the log: later ones replace earlier ones.

        Raises ValueError for a record that is not ours.
        """
        customer, part = split_key(key)
        parts = self._asleep.get(customer)
        if not isinstance(parts, dict):
            if value is None and parts is None:
                return
            if part == _PACK_PART and value is not None:
                self._asleep[customer] = value
                return
            parts = self._asleep[customer] = {} if parts is None else {_PACK_PART: parts}
        if value is None:
            parts.pop(part, None)
        else:
            parts[part] = value

    @property
    def catalog(self) -> Catalog:
        """Return the catalog version in force."""
        return self._terms.catalog

    def switch(self, catalog: Catalog) -> None:
        """Rate by another catalog version from here on (R10.4)."""
        self._terms = TermsIndex(catalog)
        for customer in (*self._awake.values(), *self._large.values()):
            customer.state.forget_tariffs()

    def rate(self, record: Record) -> Outcome:
        """Rate one record and change its customer's state. Raises KeyError for a catalog version that is not there."""
        outcome = Outcome()
        digest = switched_to(record)
        if digest is not None:
            self.switch(self._catalog_of(digest))
            return outcome
        key = key_of(record)
        customer = self._awake.get(key or "") or self._customer(key)
        state = customer.state
        if record.topic == EVENTS_TOPIC:
            if not self._durable or record.offset > state.events_applied:
                envelope = envelope_of(record, key, record.offset + state.grants_applied + 2)
                self._rate_events(record, envelope, customer, outcome)
        elif record.topic == GRANTS_TOPIC:
            if not self._durable or record.offset > state.grants_applied:
                self._apply_billing(record, envelope_of(record, key), customer, outcome)
        else:
            raise ValueError(f"records of topic {record.topic!r} are not rated")
        if outcome.customer is not None:
            self._awake[state.customer] = customer
            if not self._durable:
                customer.discard_changed()
        return outcome

    def customers(self) -> set[str]:
        """Return the customers of whom something is remembered."""
        return self._awake.keys() | self._large.keys() | {key.decode() for key in self._asleep}

    def quota_of(self, customer: TrackedCustomer) -> QuotaRecord | None:
        """Return a customer's quota record, None when nothing in it has changed since it was last asked for (R8.3).

        To be called before what has changed is taken away.
        """
        state = customer.state
        if not (state.quota_changed or state.changed):
            return None
        record = quota_record(state, self._terms, state.answers)
        state.quota_changed = False
        state.answers = []
        return record

    def state_of(self, customer: str) -> CustomerState:
        """Return a customer's state as it is now; that of one who is not known is empty."""
        return self._customer(customer).state

    def doze(self) -> None:
        """Put customers to sleep who are more than should be awake: their states are kept as they are written.

        To be called when all that has changed is taken away.
        """
        for name in list(islice(self._awake, max(0, len(self._awake) - AWAKE_MAX))):
            customer = self._awake.pop(name)
            if customer.is_small():
                self._asleep[name.encode()] = customer.pack
            else:
                customer.relax()
                self._large[name] = customer

    def _customer(self, name: str | None) -> TrackedCustomer:
        """Return a customer by the record's key; one that is not known yet is kept only when something is accepted."""
        known = self._awake.get(name or "")
        if known is None:
            known = self._large.pop(name or "", None)
            if known is not None:
                self._awake[known.state.customer] = known
        if known is not None:
            return known
        customer = TrackedCustomer(CustomerState(name or ""))
        key = (name or "").encode()
        parts = self._asleep.pop(key, None)
        if parts:
            records = parts if isinstance(parts, dict) else {_PACK_PART: parts}
            customer.restore({join_key(key, part): value for part, value in records.items()})
            self._awake[customer.state.customer] = customer
        return customer

    def _rate_events(self, record: Record, envelope: Envelope, customer: TrackedCustomer, outcome: Outcome) -> None:
        try:
            batch = decode_events(record)
        except Rejected as rejected:
            outcome.dead_letters.append(_dead_letter(record, None, rejected, record.value or b""))
            return
        rejects: list[tuple[int, Rejected]] = []
        index, state, lines, alerts = self._terms, customer.state, outcome.lines, outcome.alerts
        for number, event in enumerate(batch):
            try:
                if not isinstance(event, UsageEvent):
                    self._take_other(event, envelope, customer, outcome)
                    continue
                rated = rate_event(index, state, event, envelope)
            except Rejected as rejected:
                rejects.append((number, rejected))
                continue
            if rated is None:
                outcome.duplicates += 1
                continue
            line, its_alerts = rated
            lines.append(line)
            if its_alerts:
                alerts.extend(its_alerts)
        outcome.events = len(batch)
        if lines or outcome.duplicates or outcome.reservations:
            outcome.customer = customer
            state.events_applied = record.offset
        if rejects:
            originals = originals_of(record)
            outcome.dead_letters = [_dead_letter(record, number, each, originals[number]) for number, each in rejects]

    def _take_other(
        self, event: Reserve | Release | Rejected, envelope: Envelope, customer: TrackedCustomer, outcome: Outcome
    ) -> None:
        """Take what is no usage event. Raises Rejected."""
        if isinstance(event, Rejected):
            raise event
        if apply_reservation(self._terms, customer.state, event, envelope):
            outcome.reservations += 1
        else:
            outcome.duplicates += 1

    def _apply_billing(self, record: Record, envelope: Envelope, customer: TrackedCustomer, outcome: Outcome) -> None:
        try:
            wanted = decode_billing(record)
            if isinstance(wanted, Close):
                closing = apply_close(self.catalog, customer.state, wanted, envelope)
                applied = closing is not None
                outcome.closings = [closing] if closing is not None else []
            else:
                applied = apply_grant(self.catalog, customer.state, wanted, envelope)
        except Rejected as rejected:
            outcome.dead_letters.append(_dead_letter(record, None, rejected, record.value or b""))
            return
        if applied:
            outcome.customer = customer
            customer.state.grants_applied = record.offset


def _no_version(digest: str) -> Catalog:
    raise KeyError(f"no catalog version {digest} is given")


def _dead_letter(record: Record, index: int | None, rejected: Rejected, original: bytes) -> DeadLetter:
    return DeadLetter(record, index, rejected.code, rejected.message, original)

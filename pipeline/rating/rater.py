"""Records to lines, alerts and rejects, over the states of many customers (R2.3, R3.3)."""

from dataclasses import dataclass, field

from pipeline.codec.records import decode_events, decode_grant, envelope_of, event_of, originals_of
from pipeline.codec.states import join_key, split_key
from pipeline.domain.admission import Envelope
from pipeline.domain.alerts import Alert
from pipeline.domain.catalog import Catalog
from pipeline.domain.lines import Line
from pipeline.domain.rating import apply_grant, rate_event
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from pipeline.domain.state import CustomerState
from pipeline.domain.terms import TermsIndex
from pipeline.rating.tracked import TrackedCustomer


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected record or event (R2.3). `index` is its place in the record's array, None for a whole record."""

    record: Record
    index: int | None
    code: str
    message: str
    original: bytes


@dataclass(slots=True)
class Outcome:
    """What one record came to. `customer` is None when it left no trace in any state."""

    lines: list[Line] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    events: int = 0
    duplicates: int = 0
    customer: TrackedCustomer | None = None


class Rater:
    """The states of the customers of one partition, or of a whole journal, and the rating of records over them.

    When the states are `durable`, what changes in them is noted for writing, and a record that its customer's state
    already holds is passed over: its effects were written with the state (docs/decisions/0005).
    """

    def __init__(self, catalog: Catalog, *, durable: bool) -> None:
        self._catalog = catalog
        self._durable = durable
        self._terms = TermsIndex(catalog)
        self._customers: dict[str, TrackedCustomer] = {}
        self._stored: dict[bytes, dict[bytes, bytes]] = {}
        """Customer to the recovered parts of the state, as they were read: put together when it is first needed."""

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take one changelog record back in recovery, in the order of the log: later ones replace earlier ones.

        Raises ValueError for a record that is not ours.
        """
        customer, part = split_key(key)
        parts = self._stored.get(customer)
        if value is None:
            if parts is not None:
                parts.pop(part, None)
        elif parts is None:
            self._stored[customer] = {part: value}
        else:
            parts[part] = value

    def rate(self, record: Record) -> Outcome:
        """Rate one record and change its customer's state."""
        envelope = envelope_of(record)
        customer = self._customer(envelope.key)
        outcome = Outcome()
        if record.topic == EVENTS_TOPIC:
            if not self._durable or record.offset > customer.state.events_applied:
                self._rate_events(record, envelope, customer, outcome)
        elif record.topic == GRANTS_TOPIC:
            if not self._durable or record.offset > customer.state.grants_applied:
                self._apply_grant(record, envelope, customer, outcome)
        else:
            raise ValueError(f"records of topic {record.topic!r} are not rated")
        if outcome.customer is not None:
            self._customers[customer.state.customer] = customer
        return outcome

    def customers(self) -> set[str]:
        """Return the customers of whom something is remembered."""
        return self._customers.keys() | {key.decode() for key in self._stored}

    def state_of(self, customer: str) -> CustomerState:
        """Return a customer's state as it is now; that of one who is not known is empty."""
        return self._customer(customer).state

    def _customer(self, name: str | None) -> TrackedCustomer:
        """Return a customer by the record's key; one that is not known yet is kept only when something is accepted."""
        known = self._customers.get(name or "")
        if known is not None:
            return known
        customer = TrackedCustomer(CustomerState(name or ""))
        key = (name or "").encode()
        parts = self._stored.pop(key, None)
        if parts:
            customer.restore({join_key(key, part): value for part, value in parts.items()})
            self._customers[customer.state.customer] = customer
        return customer

    def _rate_events(self, record: Record, envelope: Envelope, customer: TrackedCustomer, outcome: Outcome) -> None:
        try:
            batch = decode_events(record)
        except Rejected as rejected:
            outcome.dead_letters.append(_dead_letter(record, None, rejected, record.value or b""))
            return
        rejects: list[tuple[int, Rejected]] = []
        outcome.events = len(batch)
        for index, decoded in enumerate(batch):
            try:
                rated = rate_event(self._catalog, self._terms, customer.state, event_of(decoded), envelope)
            except Rejected as rejected:
                rejects.append((index, rejected))
                continue
            outcome.customer = customer
            if rated is None:
                outcome.duplicates += 1
            else:
                outcome.lines.append(rated.line)
                outcome.alerts.extend(rated.alerts)
            if self._durable:
                customer.note(rated)
        if outcome.customer is not None:
            customer.state.events_applied = record.offset
        if rejects:
            originals = originals_of(record)
            outcome.dead_letters = [_dead_letter(record, index, each, originals[index]) for index, each in rejects]

    def _apply_grant(self, record: Record, envelope: Envelope, customer: TrackedCustomer, outcome: Outcome) -> None:
        try:
            added = apply_grant(self._catalog, customer.state, decode_grant(record), envelope)
        except Rejected as rejected:
            outcome.dead_letters.append(_dead_letter(record, None, rejected, record.value or b""))
            return
        if added:
            outcome.customer = customer
            if self._durable:
                customer.note(None)
            customer.state.grants_applied = record.offset


def _dead_letter(record: Record, index: int | None, rejected: Rejected, original: bytes) -> DeadLetter:
    return DeadLetter(record, index, rejected.code, rejected.message, original)

"""Rating the log again: until a period as it was, from its start on under another catalog."""

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace

import msgspec

from pipeline.codec.records import decode_billing, decode_events, envelope_of, key_of
from pipeline.domain.admission import Envelope
from pipeline.domain.catalog import NO_CATALOG, Catalog, Plan, Subscription
from pipeline.domain.closings import Close, apply_close
from pipeline.domain.events import Event, UsageEvent
from pipeline.domain.instants import MILLISECOND_US, day_start_us
from pipeline.domain.lines import Line
from pipeline.domain.rating import apply_grant, rate_event
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from pipeline.domain.reservations import apply_reservation
from pipeline.domain.resim import Bills, Sums, bill_of
from pipeline.domain.state import CustomerState
from pipeline.domain.terms import Terms, TermsIndex
from pipeline.rating.rater import CatalogOf, Rater


class History(msgspec.Struct):
    """What a customer's lines say of how they came about."""

    starts: list[int] = []
    """Numbers of the lines from which on another catalog version rated them."""
    digests: list[str] = []
    """Of those versions."""
    versions: dict[int, int] | None = None
    """Number of each line to its version, which says after which grant it was rated; None to go by timestamps."""


class Fingerprint(msgspec.Struct, frozen=True):
    """Sums over all lines of a customer that tell one history of ratings from another."""

    lines: int = 0
    versions: int = 0
    weighted_versions: int = 0
    """Each times the number of its line."""
    weighted_charges_pico: int = 0
    """The same of charges."""


class LogRating:
    """Rates a customer's records twice: as they were rated, and so that the period and later falls under another catalog."""

    def __init__(self, catalog_of: CatalogOf, first: Catalog, new: Catalog, period: str, history: History) -> None:
        self._catalog_of = catalog_of
        self._period = period
        self._history = history
        self._customer = ""
        self._as_it_was = Rater(first, durable=False)
        self._spliced = SplicedRating(first, new, day_start_us(period))
        self._grants: deque[Record] = deque()
        """Not applied yet; only when the history has versions."""
        self._offsets = {-1}
        self._sums = [0, 0, 0, 0]
        self.old: Bills = {}
        self.new: Bills = {}

    def rate(self, record: Record) -> None:
        """Rate the next record; with versions in the history, all grants are to come before the first event."""
        self._customer = key_of(record) or ""
        if self._history.versions is None:
            self._rate(record)
        elif record.topic == GRANTS_TOPIC:
            self._grants.append(record)
            self._offsets.add(record.offset)
        else:
            self._apply_grants_before(record, self._history.versions)
            self._rate(record)

    def finish(self) -> None:
        """Apply the grants that no line counts."""
        while self._grants:
            self._rate(self._grants.popleft())

    @property
    def fingerprint(self) -> Fingerprint:
        """Return that of the rating as it was."""
        return Fingerprint(*self._sums)

    def _rate(self, record: Record) -> None:
        self._switch()
        for line in self._as_it_was.rate(record).lines:
            sums = (1, line.version, line.version * line.seq, line.charge_pico * line.seq)
            self._sums = [one + other for one, other in zip(self._sums, sums, strict=True)]
            self._add(self.old, line)
        for line in self._spliced.rate(record):
            self._add(self.new, line)

    def _switch(self) -> None:
        """Go on under the version that rated the next line, as the line says (R10.4)."""
        if not self._history.starts:
            return
        place = bisect_right(self._history.starts, self._state.seq + 1) - 1
        digest = self._history.digests[max(place, 0)]
        catalog = self._catalog_of(digest)
        if catalog is not self._as_it_was.catalog:
            self._as_it_was.switch(catalog)
            self._spliced.switch(catalog)

    @property
    def _state(self) -> CustomerState:
        return self._as_it_was.state_of(self._customer)

    def _apply_grants_before(self, record: Record, versions: Mapping[int, int]) -> None:
        """Apply the grants that the version of a record's first line counts: offsets of record and last grant, plus 2."""
        version = versions.get(self._state.seq + 1)
        applied = -1 if version is None else version - record.offset - 2
        if (
            self._grants
            and applied in self._offsets
            and self._grants[0].offset <= applied
            and self._makes_lines(record)
        ):
            while self._grants and self._grants[0].offset <= applied:
                self._rate(self._grants.popleft())

    def _makes_lines(self, record: Record) -> bool:
        """Tell whether a record makes a line at all: the version at hand is that of the next line, maybe a later record's."""
        self._switch()
        self._state.forget_tariffs()  # the catalog would be copied with them
        trial = deepcopy(self._state)
        terms, envelope = TermsIndex(self._as_it_was.catalog), envelope_of(record, self._customer)
        with suppress(Rejected):
            for event in decode_events(record):
                with suppress(Rejected):
                    if isinstance(event, UsageEvent) and rate_event(terms, trial, event, envelope) is not None:
                        return True
        return False

    def _add(self, bills: Bills, line: Line) -> None:
        if line.period != self._period:
            return
        bill = bill_of(bills, line.customer, line.app)
        bill.builder = line.builder
        bill.plans.add((line.plan, line.plan_version))
        row = bill.row(line.feature, line.unit)
        row.add(Sums(1, line.overage, line.blocked, line.charge_pico, line.builder_earnings_pico))


class SplicedRating:
    """Rates a customer's usage that is posted before an instant by the catalog in force, and later usage by another one."""

    def __init__(self, old: Catalog, new: Catalog, start_us: int) -> None:
        self._new = new
        self._start_us = start_us
        self._state: CustomerState | None = None
        self._before = self._after = TermsIndex(NO_CATALOG)
        self._side: bool | None = None
        """Whether the state's tariffs are of the index after the instant."""
        self._old = old

    def switch(self, old: Catalog) -> None:
        """Let another catalog be in force before the instant."""
        self._old = old
        if self._state is not None:
            self._before, self._after = self._indexes(self._state.customer)
            self._state.forget_tariffs()

    def rate(self, record: Record) -> list[Line]:
        """Rate the customer's next record and return its lines."""
        key = key_of(record)
        state = self._state
        if state is None:
            state = self._state = CustomerState(key or "")
            self._before, self._after = self._indexes(state.customer)
        try:
            if record.topic == EVENTS_TOPIC:
                return self._rate_events(record, state, envelope_of(record, key))
            self._apply_billing(record, state, envelope_of(record, key))
        except Rejected:
            return []
        finally:
            state.changed.clear()
            state.answers.clear()
            state.identities.closed.clear()
        return []

    def _rate_events(self, record: Record, state: CustomerState, envelope: Envelope) -> list[Line]:
        lines = []
        for event in decode_events(record):
            if isinstance(event, Rejected):
                continue
            try:
                line = self._rate_event(event, state, envelope)
            except Rejected:
                continue
            if line is not None:
                lines.append(line)
        return lines

    def _rate_event(self, event: Event, state: CustomerState, envelope: Envelope) -> Line | None:
        """Return the line of an event; None for a duplicate or a reservation. Raises Rejected."""
        after = event.time_us >= self._start_us
        if self._side is not after:
            state.forget_tariffs()  # they know the deployments of the other catalog
            self._side = after
        index = self._after if after else self._before
        if isinstance(event, UsageEvent):
            rated = rate_event(index, state, event, envelope)
            return None if rated is None else rated[0]
        apply_reservation(index, state, event, envelope)
        return None

    def _apply_billing(self, record: Record, state: CustomerState, envelope: Envelope) -> None:
        """Apply a grant, top-up or close. Raises Rejected."""
        wanted = decode_billing(record)
        if isinstance(wanted, Close):
            is_new = day_start_us(wanted.period) >= self._start_us
            apply_close(self._index(after=is_new).catalog, state, wanted, envelope)
        else:
            is_new = envelope.timestamp_ms * MILLISECOND_US >= self._start_us
            apply_grant(self._index(after=is_new).catalog, state, wanted, envelope)

    def _index(self, *, after: bool) -> TermsIndex:
        return self._after if after else self._before

    def _indexes(self, customer: str) -> tuple[TermsIndex, TermsIndex]:
        """Return the terms for usage that is due before the instant, and from then on."""
        old, new = self._old, self._new
        apps = {**old.apps, **new.apps}
        subscriptions = spliced_subscriptions(old, new, self._start_us, customer, apps)
        new_plans = {id(plan) for plan in new.plans.values()}
        halves = TermsIndex(old), TermsIndex(new)
        return (
            _SplicedTerms(replace(old, subscriptions=subscriptions, apps=apps), halves, new_plans),
            _SplicedTerms(replace(new, subscriptions=subscriptions, apps=apps), halves, new_plans),
        )


class _SplicedTerms(TermsIndex):
    """Terms of plans of two catalogs, each with the models of its own."""

    def __init__(self, catalog: Catalog, halves: tuple[TermsIndex, TermsIndex], new_plans: Collection[int]) -> None:
        super().__init__(catalog)
        self._halves = halves
        self._new_plans = new_plans
        """Identities of the plans of the second."""

    def of(self, plan: Plan, event: UsageEvent) -> Terms:
        """Return the terms of a plan for an event."""
        return self._halves[id(plan) in self._new_plans].of(plan, event)


def spliced_subscriptions(
    old: Catalog, new: Catalog, start_us: int, customer: str, apps: Iterable[str]
) -> dict[tuple[str, str], tuple[Subscription, ...]]:
    """Return a customer's subscriptions in `old` until an instant, and those in `new` from then on."""
    found = {}
    for app in apps:
        key = customer, app
        before = [each for each in old.subscriptions.get(key, ()) if each.start_us < start_us]
        after = [each for each in new.subscriptions.get(key, ()) if each.end_us is None or each.end_us > start_us]
        found[key] = (
            *(replace(each, end_us=_earlier(each.end_us, start_us)) for each in before),
            *(replace(each, start_us=max(each.start_us, start_us)) for each in after),
        )
    return found


def _earlier(end_us: int | None, limit_us: int) -> int:
    return limit_us if end_us is None else min(end_us, limit_us)

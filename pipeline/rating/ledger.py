"""One partition of the worker: records in; lines, dead letters, alerts and states out, as bytes."""

from typing import NamedTuple

from pipeline.codec.lines import BLOCK_LINES_MIN, LineBlock, encode_alert, encode_blocks, encode_closing
from pipeline.codec.quota import encode_quota
from pipeline.domain.catalog import Catalog
from pipeline.domain.lines import Line
from pipeline.domain.records import Record
from pipeline.domain.state import CustomerState
from pipeline.rating.rater import CatalogOf, DeadLetter, Rater
from pipeline.rating.tracked import StateRecord, TrackedCustomer

__all__ = ["ChangedState", "DeadLetter", "Effects", "Ledger"]


class Effects(NamedTuple):
    """What rating some records wants to be written, all together or not at all (DESIGN 4)."""

    blocks: list[LineBlock]
    """The lines (R7.1), in order."""
    dead_letters: list[DeadLetter]
    alerts: list[tuple[bytes, bytes]]
    """Customer id and alert as JSON (R6.10)."""
    states: list["ChangedState"]
    """By customer."""
    closings: list[tuple[bytes, bytes]]
    """Customer id and closing as JSON (R10.3)."""
    quotas: list[tuple[bytes, bytes]]
    """Customer id and quota record of those whose quota has changed (R8.3)."""
    events: int
    """How many events were looked at."""
    duplicates: int
    """How many of them were duplicates (R6.1)."""
    switched_to: str | None
    """Digest of the catalog version that was put in force, if one was (R10.4)."""

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return sum(block.lines for block in self.blocks)


class ChangedState(NamedTuple):
    """What of a customer's state a round changed: all of it belongs into one record batch."""

    customer: str
    records: list[StateRecord]
    """Changelog key and value; None deletes."""


class Ledger:
    """The customers of one partition: their states, and the rating of that partition's records in order."""

    def __init__(self, catalog: Catalog, catalog_of: CatalogOf | None = None) -> None:
        self._rater = Rater(catalog, durable=True, catalog_of=catalog_of)
        self._begin()

    @property
    def catalog(self) -> Catalog:
        """Return the catalog version in force."""
        return self._rater.catalog

    def adopt(self, catalog: Catalog) -> None:
        """Go on under the catalog version that was in force when the states were written (R10.4)."""
        self._rater.switch(catalog)

    def _begin(self) -> None:
        self._lines: list[Line] = []
        """Of the block that is not complete."""
        self._blocks: list[LineBlock] = []
        self._dead_letters: list[DeadLetter] = []
        self._alerts: list[tuple[bytes, bytes]] = []
        self._closings: list[tuple[bytes, bytes]] = []
        self._changed: dict[str, TrackedCustomer] = {}
        self.pending_events = 0
        """How many events the pending effects come from."""
        self._duplicates = 0
        self._switched = False

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take one changelog record back in recovery, in the order of the log; see `Rater.restore`."""
        self._rater.restore(key, value)

    def customers(self) -> set[str]:
        """Return the customers of whom something is remembered."""
        return self._rater.customers()

    def state_of(self, customer: str) -> CustomerState:
        """Return a customer's state as it is now; that of one who is not known is empty."""
        return self._rater.state_of(customer)

    def rate(self, record: Record) -> None:
        """Rate one record; what it wants written is added to the pending effects."""
        before = self.catalog
        outcome = self._rater.rate(record)
        self._switched |= self.catalog is not before
        self.pending_events += outcome.events
        self._duplicates += outcome.duplicates
        self._dead_letters += outcome.dead_letters
        if outcome.customer is None:
            return
        state = outcome.customer.state
        self._changed[state.customer] = outcome.customer
        self._lines += outcome.lines
        if len(self._lines) >= BLOCK_LINES_MIN:
            self._close_block()
        if outcome.alerts:
            self._alerts += [(state.customer.encode(), encode_alert(alert)) for alert in outcome.alerts]
        self._closings += [(state.customer.encode(), encode_closing(closing)) for closing in outcome.closings]

    def take_effects(self) -> Effects:
        """Return the pending effects and forget them."""
        quotas = [
            (record.customer.encode(), encode_quota(record))
            for customer in self._changed.values()
            if (record := self._rater.quota_of(customer)) is not None
        ]
        states = [ChangedState(name, customer.take_changed()) for name, customer in self._changed.items()]
        self._close_block()
        effects = Effects(
            self._blocks,
            self._dead_letters,
            self._alerts,
            states,
            self._closings,
            quotas,
            self.pending_events,
            self._duplicates,
            self.catalog.digest if self._switched else None,
        )
        self._begin()
        self._rater.doze()
        return effects

    def _close_block(self) -> None:
        if self._lines:
            self._blocks += encode_blocks(self._lines)
            self._lines = []

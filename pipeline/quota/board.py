"""The board: the last quota record of each customer, and when that was last known to be all."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from math import inf

from pipeline.codec.quota import decode_quota, encode_quota
from pipeline.domain.decisions import Standing
from pipeline.domain.quota import QuotaRecord, empty_quota
from pipeline.domain.terms import TermsIndex

STANDINGS_MAX = 1_000
"""Customers whose record is kept decoded; of all others it is bytes."""

Listener = Callable[[str, bytes | None], None]
"""Is called with a customer and its record, None when it has none any more."""


class Board:
    """Written by one thread, which calls the listeners; records may be read by any, standings by one."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._standings: OrderedDict[str, tuple[bytes | None, TermsIndex, Standing]] = OrderedDict()
        self._listeners: dict[str | None, list[Listener]] = {}
        self.as_of_s = -inf
        """When the source was last known to be read to its end, of the monotonic clock; -inf before the first time."""

    @property
    def is_ready(self) -> bool:
        """Return whether the source was read to its end once."""
        return self.as_of_s != -inf

    def age_ms(self) -> int | None:
        """Return how long ago the board was last known to hold everything; None before the first time."""
        return int((time.monotonic() - self.as_of_s) * 1000) if self.is_ready else None

    def replace(self, values: Mapping[str, bytes], as_of_s: float) -> None:
        """Take all of a source that was read from its beginning to its end."""
        before, self._values = self._values, dict(values)
        for customer in before.keys() | values.keys():
            value = self._values.get(customer)
            if value != before.get(customer):
                self._tell(customer, value)
        self.read_at(as_of_s)

    def put(self, customer: str, value: bytes | None) -> None:
        """Take a record that follows the last one; None takes it away."""
        if value is None:
            self._values.pop(customer, None)
        else:
            self._values[customer] = value
        self._tell(customer, value)

    def read_at(self, as_of_s: float) -> None:
        """Note when the source was known to be read to its end."""
        self.as_of_s = max(self.as_of_s, as_of_s)

    def value(self, customer: str) -> bytes:
        """Return a customer's record as JSON; that of one who has none is empty."""
        value = self._values.get(customer)
        return encode_quota(empty_quota(customer)) if value is None else value

    def record(self, customer: str) -> QuotaRecord:
        """Return a customer's record; that of one who has none is empty. Raises ValueError when it cannot be read."""
        value = self._values.get(customer)
        return empty_quota(customer) if value is None else decode_quota(value)

    def standing(self, customer: str, index: TermsIndex) -> Standing:
        """Return what decides about a customer. Raises ValueError when its record cannot be read."""
        value = self._values.get(customer)
        known = self._standings.get(customer)
        if known is not None and known[0] is value and known[1] is index:
            self._standings.move_to_end(customer)
            return known[2]
        standing = Standing(self.record(customer), index)
        self._standings[customer] = (value, index, standing)
        self._standings.move_to_end(customer)
        if len(self._standings) > STANDINGS_MAX:
            self._standings.popitem(last=False)
        return standing

    def subscribe(self, listener: Listener, customer: str | None = None) -> Callable[[], None]:
        """Call a listener at every change of a customer's record, or of anybody's; return what ends that."""
        listeners = self._listeners.setdefault(customer, [])
        listeners.append(listener)

        def unsubscribe() -> None:
            listeners.remove(listener)
            if not listeners and self._listeners.get(customer) is listeners:
                del self._listeners[customer]

        return unsubscribe

    def _tell(self, customer: str, value: bytes | None) -> None:
        for whose in (customer, None):
            for listener in tuple(self._listeners.get(whose, ())):
                listener(customer, value)

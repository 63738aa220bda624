"""Waiting until the quota records say what became of a reservation (R9)."""

import logging
import threading
from concurrent.futures import Future

from pipeline.codec.quota import decode_quota

WAITING_MAX = 10_000
"""Reservations that are waited for at once; of more, nothing is learned."""
HELD = None
"""What a future says of a reservation that is held; else it says why it is refused."""

log = logging.getLogger(__name__)


class Waiting:
    """Who waits for which reservation; asked by any thread, told by the one that writes the board."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: dict[str, dict[tuple[str, str], Future[str | None]]] = {}
        self._count = 0

    def expect(self, customer: str, deployment: str, reservation: str) -> Future[str | None]:
        """Return what is told HELD or why it is refused, once a record says so; to be called before it is asked for."""
        future: Future[str | None] = Future()
        with self._lock:
            if self._count < WAITING_MAX:
                self._futures.setdefault(customer, {})[deployment, reservation] = future
                self._count += 1
        return future

    def drop(self, customer: str, deployment: str, reservation: str) -> None:
        """Wait no longer."""
        with self._lock:
            futures = self._futures.get(customer, {})
            if futures.pop((deployment, reservation), None) is not None:
                self._count -= 1
            if not futures:
                self._futures.pop(customer, None)

    def tell(self, customer: str, value: bytes | None) -> None:
        """Tell those who wait what a customer's record says."""
        if value is None or customer not in self._futures:
            return
        try:
            record = decode_quota(value)
        except ValueError as error:
            log.warning("%s", error)
            return
        outcomes: dict[tuple[str, str], str | None] = {(each.request.deployment, each.id): HELD for each in record.held}
        outcomes |= {(each.source, each.id): each.refused for each in record.answers}
        with self._lock:
            waiting = list(self._futures.get(customer, {}).items())
        for reservation, future in waiting:
            if reservation in outcomes and not future.done():
                future.set_result(outcomes[reservation])

"""The book of answers: decisions on all customers that are asked about, renewed in the background as records come."""

import asyncio
import logging
import threading
import time
from math import inf

from pipeline.domain.catalog import Catalog
from pipeline.domain.decisions import Standing
from pipeline.domain.terms import TermsIndex
from pipeline.quota.answers import Answers
from pipeline.quota.board import Board

CUSTOMERS_MAX = 10_000
"""Customers whose answers are kept ready; beyond, those that were asked about first are forgotten."""

log = logging.getLogger(__name__)


class AnswerBook:
    """Read by any thread. The thread that writes the board runs `run`, and calls `wake` after it has written."""

    def __init__(self, board: Board, catalog: Catalog | None = None) -> None:
        self.known: dict[str, Answers] = {}
        """By customer; to be read without a lock."""
        self.as_of_s = -inf
        """When everything that the answers rest on was known to be the latest, of the monotonic clock."""
        self.ready = threading.Event()
        self._board = board
        self._index = None if catalog is None else TermsIndex(catalog)
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._all_changed = False
        self._woken = asyncio.Event()
        board.subscribe(lambda customer, _: self._changed.add(customer))

    def use(self, catalog: Catalog) -> None:
        """Answer by another catalog from now on; what was answered before is renewed at the next wake. For any thread."""
        with self._lock:
            self._index = TermsIndex(catalog)
            self._all_changed = True

    def wake(self) -> None:
        """Renew what has changed."""
        self._woken.set()

    async def run(self) -> None:
        """Renew answers whenever woken, for ever."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            as_of_s = self._board.as_of_s
            changed, self._changed = self._changed, set()
            with self._lock:  # whoever looks at the board at the moment is done, or begins after it was written
                changed = set(self.known) if self._all_changed else changed & self.known.keys()
                self._all_changed = False
            for customer in changed:
                self._renew(customer)
                await asyncio.sleep(0)
            self.as_of_s = as_of_s
            if as_of_s != -inf:
                self.ready.set()

    def answers_of(self, customer: str) -> Answers | None:
        """Return what answers for a customer; None while the catalog or the record is not there, or cannot be read."""
        with self._lock:
            answers = self.known.get(customer)
            if answers is not None or self._index is None:
                return answers
            try:
                answers = Answers(Standing(self._board.record(customer), self._index))
            except ValueError as error:
                log.warning("%s: %s", customer, error)
                return None
            if len(self.known) >= CUSTOMERS_MAX:
                del self.known[next(iter(self.known))]
            self.known[customer] = answers
            return answers

    def _renew(self, customer: str) -> None:
        """Replace a customer's answers by those of its present record; callers have the old ones until then."""
        with self._lock:
            old, index = self.known.get(customer), self._index
        if old is None or index is None:
            return
        try:
            standing = Standing(self._board.record(customer), index)
        except ValueError as error:
            log.error("%s: %s", customer, error)  # noqa: TRY400 - there is nothing more to it than that
            with self._lock:
                self.known.pop(customer, None)
            return
        answers = old.successor(standing, time.time_ns() // 1000)
        with self._lock:
            self.known[customer] = answers

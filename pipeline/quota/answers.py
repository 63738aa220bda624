"""Decisions about one customer, kept for as long as they hold; those that are asked for again are made beforehand."""

import threading
from typing import Any

from pipeline.domain.decisions import Decision, Standing
from pipeline.domain.quota import Request

KEPT_MAX = 64
"""Requests a customer whose decisions are kept."""
RECENT_US = 60_000_000
"""A request that nobody has made for so long is not decided beforehand."""

Key = tuple[Any, ...]
"""What tells requests apart: the fields as the caller gave them."""


class Kept:
    """A decision, and until when it holds as long as no other record comes. Times in microseconds since 1970."""

    __slots__ = ("again", "asked_us", "decision", "request", "until_us")

    def __init__(self, request: Request, decision: Decision, until_us: int, asked_us: int) -> None:
        self.request = request
        self.decision = decision
        self.until_us = until_us
        self.asked_us = asked_us
        self.again = False
        """Asked for more than once: worth to be decided beforehand."""


class Answers:
    """What one quota record of a customer answers. `kept` is read without a lock; all else may be called by any thread."""

    def __init__(self, standing: Standing) -> None:
        self.kept: dict[Key, Kept] = {}
        self._standing = standing
        self._lock = threading.Lock()

    def decide(self, key: Key, request: Request, now_us: int) -> Decision:
        """Return a decision, made now, and keep it."""
        kept = self._decided(request, now_us)
        with self._lock:
            if key not in self.kept and len(self.kept) >= KEPT_MAX:
                del self.kept[min(self.kept, key=self._asked_us)]
            self.kept[key] = kept
        return kept.decision

    def successor(self, standing: Standing, now_us: int) -> "Answers":
        """Return what another record answers, with the decisions that are likely to be asked for."""
        answers = Answers(standing)
        for key, kept in list(self.kept.items()):
            if kept.again and now_us - kept.asked_us < RECENT_US:
                new = answers._decided(kept.request, now_us)
                new.again, new.asked_us = True, kept.asked_us
                answers.kept[key] = new
        return answers

    def _decided(self, request: Request, now_us: int) -> Kept:
        with self._lock:
            decision = self._standing.decide(request, now_us)
            until_us = self._standing.valid_until_us(now_us)
        return Kept(request, decision, until_us, now_us)

    def _asked_us(self, key: Key) -> int:
        return self.kept[key].asked_us

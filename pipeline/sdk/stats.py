"""What became of events: counted always, said in the log now and then."""

import logging
import threading
import time
from collections import Counter
from typing import NamedTuple

log = logging.getLogger("pipeline.sdk")

SAY_AGAIN_S = 60.0


class Stats(NamedTuple):
    """Counts of a client since it was made. What was emitted or inherited is accepted, rejected, dropped, or still here."""

    emitted: int
    """Valid events given to emit."""
    invalid: int
    """What emit did not take, since the worker would reject it."""
    accepted: int
    """Acknowledged by the collector, or by Kafka."""
    rejected: int
    """Refused for good by the collector; they are in `rejected.jsonl` beside the spool."""
    dropped: int
    """Lost: there was no room for them, neither in memory nor on disk."""
    inherited: int
    """Found in the spools of dead processes."""
    attempts: int
    failed_attempts: int
    """Of them, those after which everything was sent again."""
    buffered: int
    """In memory, at this moment."""
    spooled: int
    """On disk, at this moment."""
    damaged: int
    """Lines of spools that could not be read."""


class Tally:
    """Counts by name, and log lines that do not repeat themselves more than once a minute. Safe in several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._counts: Counter[str] = Counter()
        self._said_at: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()

    def add(self, name: str, amount: int = 1) -> None:
        """Count."""
        with self._lock:
            self._counts[name] += amount

    def count(self, name: str) -> int:
        """Return a count."""
        return self._counts[name]

    def say(self, topic: str, message: str, *, level: int = logging.WARNING) -> None:
        """Log a message, unless one on the same topic was logged less than a minute ago."""
        now = time.monotonic()
        with self._lock:
            if now - self._said_at.get(topic, -SAY_AGAIN_S) < SAY_AGAIN_S:
                self._unsaid[topic] += 1
                return
            self._said_at[topic] = now
            unsaid = self._unsaid.pop(topic, 0)
        log.log(level, "usage: %s%s", message, f" ({unsaid} times more since the last such line)" if unsaid else "")

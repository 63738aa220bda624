"""Transports that do as they are told, and clients with short times."""

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any

from pipeline.sdk import Limits, UsageClient
from pipeline.sdk.transport import Answered, Outcome

SENDER = {"deployment": "dep_acme_prod", "customer": "acme", "environment": "production"}
USED: Any = {"workspace": "legal", "feature": "extraction", "model": "gpt-5-mini", "unit": "document"}
QUICK = Limits(linger_s=0.01, spool_after_s=0.05)
PATIENCE_S = 20.0


class Told:
    """A transport that keeps what it is sent. `outcomes` come first, `hold` makes it hang until it is set."""

    endpoint = "told:"

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = deque(outcomes)
        self.attempts: list[list[dict[str, Any]]] = []
        self.hold = Event()
        self.hold.set()
        self.closed = Event()

    def send(self, events: Sequence[bytes]) -> Outcome:
        self.attempts.append([json.loads(event) for event in events])
        self.hold.wait()
        return self.outcomes.popleft() if self.outcomes else Answered()

    def close(self) -> None:
        self.closed.set()

    def forget(self) -> None:
        self.hold.set()

    @property
    def ids(self) -> list[list[str]]:
        return [[event["id"] for event in attempt] for attempt in self.attempts]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for attempt in self.attempts for event in attempt]


def client_of(transport: Any, spool: Path | bool = False, **options: Any) -> UsageClient:
    """Return a client with short times; without a spool unless it is given one."""
    return UsageClient(transport=transport, spool=spool, **SENDER, **{"limits": QUICK} | options)


def until(condition: Callable[[], object]) -> None:
    """Return when a condition holds. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)


def segments(folder: Path) -> list[Path]:
    """Return the segment files beneath a folder."""
    return sorted(folder.rglob("*.events"))

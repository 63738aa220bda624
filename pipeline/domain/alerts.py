"""Alerts when a share of a pool or budget is reached (R6.10)."""

from collections.abc import Iterable
from dataclasses import dataclass

NEVER = 1 << 256
"""More than any use can be."""


@dataclass(frozen=True, slots=True)
class Alert:
    """The line `seq` made a pool or budget `id` first reach `threshold` percent in one of its windows."""

    customer: str
    period: str
    id: str
    scope_value: str
    threshold: int
    seq: int


def reached(thresholds: Iterable[int], limit: int, before: int, after: int) -> list[int]:
    """Return the thresholds (percent, rising) that use of a limit reaches as it grows.

    Use only grows within a window, so each is reached once. A limit of 0 has no share, and so no alert.
    """
    if limit <= 0:
        return []
    return [threshold for threshold in thresholds if before * 100 < threshold * limit <= after * 100]


def alert_from(thresholds: Iterable[int], limit: int, use: int) -> int:
    """Return the use at which the next threshold is reached."""
    if limit <= 0:
        return NEVER
    for threshold in thresholds:
        if threshold * limit > use * 100:
            return -(-threshold * limit // 100)
    return NEVER

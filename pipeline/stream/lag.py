"""How far a worker is behind: in records, and in time."""

from collections.abc import Mapping
from typing import NamedTuple

from faust.types import TP


class Lag(NamedTuple):
    """What of one topic and partition is not rated yet; at least one offset."""

    offsets: int
    next_offset: int
    head_ms: int | None
    """Timestamp of the first record, Unix time; None when it is not fetched yet."""


class Waits:
    """Since when lags are known. A record that was not fetched has no timestamp: it has waited since it was first asked for."""

    def __init__(self) -> None:
        self._seen_s: dict[tuple[TP, int], float] = {}

    def longest_s(self, lags: Mapping[TP, Lag], now_s: float) -> float:
        """Return how long the oldest of what waits has, 0 when nothing does; `now_s` is Unix time."""
        self._seen_s = {
            (place, lag.next_offset): self._seen_s.get((place, lag.next_offset), now_s) for place, lag in lags.items()
        }
        since_s = [
            self._seen_s[place, lag.next_offset] if lag.head_ms is None else lag.head_ms / 1000
            for place, lag in lags.items()
        ]
        return max([0.0, *(now_s - each_s for each_s in since_s)])

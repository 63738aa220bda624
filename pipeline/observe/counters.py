"""Counters of a process: a closed list of names, each with its meaning."""

from collections import Counter

COUNTERS = {
    "records": "records of usage.events and billing.grants that were rated and whose effects are written, by topic",
    "record_bytes": "bytes of their values",
    "events": "events that were looked at; each became a line, a duplicate, a reject, a reservation or the end of one",
    "duplicates": "usage events that were rated before (R6.1)",
    "rounds": "rounds of rating and writing",
    "lines": "lines written to usage.lines",
    "rejects": "records and events written to usage.dead-letter, by code",
    "poisoned": "of them, those written while nearly everything of their partition was rejected: alert when it grows",
    "alerts": "alerts written to usage.alerts",
    "quotas": "quota records written to usage.quota",
    "states": "changelog records written to usage.states",
    "restored": "changelog records read back in recovery",
    "rebalances": "times that the group dealt out its partitions anew",
}
"""Name to meaning."""


class Counters:
    """Current values; they only grow."""

    def __init__(self) -> None:
        self._values: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, amount: int = 1, label: str = "") -> None:
        """Add to a counter. Raises KeyError for a name that COUNTERS does not list."""
        if name not in COUNTERS:
            raise KeyError(f"{name!r} is no counter: add it to COUNTERS with its meaning")
        self._values[name, label] += amount

    def shown(self) -> dict[str, int]:
        """Return `name` or `name{label}` to value, in the order of COUNTERS."""
        order = list(COUNTERS)
        items = sorted(self._values.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
        return {f"{name}{{{label}}}" if label else name: value for (name, label), value in items}

"""The targets (docs/performance.md), against what the parts have measured."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from bench.report import kept, shown, table

Found = dict[str, Any]


class Target(NamedTuple):
    """A number that must not be exceeded."""

    words: str
    part: str
    limit: float
    unit: str
    spreads: Callable[[Found], Sequence[tuple[str, Found]]]
    """Of the cases that it holds for, by name, in what the part has found."""


def _rates(found: Found) -> Sequence[tuple[str, Found]]:
    """Return every case with large bundles: the target names no shape."""
    rows = [row for row in found["rate"] if row["bundle"] >= 100]
    return [(f"{row['shape']}, {row['bundle']}", row["us_per_event"]) for row in rows]


def _workers(message: int, customers: int | None) -> Callable[[Found], Sequence[tuple[str, Found]]]:
    def spreads(found: Found) -> Sequence[tuple[str, Found]]:
        return [
            (f"{row['broker']}, {row['partitions']} partitions, {row['customers']:,} customers", row["worker_us"])
            for row in found["worker"]
            if row["message"] == message and customers in (None, row["customers"])
        ]

    return spreads


def _sinks(key: str) -> Callable[[Found], Sequence[tuple[str, Found]]]:
    """Return what finds the default size of blocks, which is measured first."""
    return lambda found: [(f"blocks of {row['rows_max']:,}", row[key]) for row in found["sink"][:1]]


def _plain(value: float) -> Found:
    return {"median": value, "least": value, "most": value}


def _states(found: Found) -> Sequence[tuple[str, Found]]:
    return [(where, _plain(each["with_events"])) for where, each in found["state_bytes"].items()]


def _statements(*, large: bool) -> Callable[[Found], Sequence[tuple[str, Found]]]:
    def spreads(found: Found) -> Sequence[tuple[str, Found]]:
        return [
            (f"{name}, of {found['lines']:,}", each)
            for name, each in found["statements"].items()
            if name.startswith("a million") == large
        ]

    return spreads


def _simulations(found: Found) -> Sequence[tuple[str, Found]]:
    return [(f"new plans {row['plan']}", row["us_a_line"]) for row in found["simulate"]]


TARGETS = (
    Target("rate, bundles of 100 or more", "rate", 5, "us an event", _rates),
    Target("worker, 500 a message", "worker", 6.5, "us an event", _workers(500, None)),
    Target("worker, 1 a message, 2,000 customers", "worker", 20, "us an event", _workers(1, 2_000)),
    Target("worker, 1 a message, 100,000 customers", "worker", 30, "us an event", _workers(1, 100_000)),
    Target("sink, our side", "sink", 4, "us a row", _sinks("sink_us")),
    Target("sink, with ClickHouse's", "sink", 8, "us a row", _sinks("both_us")),
    Target("a remembered event", "memory", 40, "bytes", lambda found: list(found["identity_bytes"].items())),
    Target("a customer of three allowances, 8 events", "memory", 1024, "bytes", _states),
    Target("statement of a million lines", "statements", 100, "ms", _statements(large=True)),
    Target("any other statement", "statements", 30, "ms", _statements(large=False)),
    Target("simulate, 300,000 lines/s on 2 cores", "simulate", 3.33, "us a line (wall)", _simulations),
    Target("delay at half load, p99", "whole", 2, "s", lambda found: [("half", found["paced"]["half"]["p99_s"])]),
)


def verdicts() -> str:
    """Return a table of the targets; what was not measured is missing."""
    rows = [row for target in TARGETS for row in _rows(target)]
    return table(("target", "case", "at most", "measured", "unit", "met"), rows)


def _rows(target: Target) -> Iterator[tuple[object, ...]]:
    found = kept(target.part)
    if found is None:
        yield (target.words, "", target.limit, "not measured", target.unit, "")
        return
    for name, measured in target.spreads(found):
        met = "yes" if measured["median"] <= target.limit else "no"
        yield (target.words, name, target.limit, shown(measured), target.unit, met)

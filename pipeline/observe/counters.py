"""Current values of a process's metrics."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from pipeline.observe.metrics import METRICS, Kind, Metric

Labels = tuple[str, ...]
V = TypeVar("V")


class Histogram:
    """How many values fell at or below each bound, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self, bounds: int) -> None:
        self.counts = [0] * (bounds + 1)
        """By bucket, not summed up; the last one is of what lies above every bound."""
        self.total = 0.0


class Counters:
    """Values by metric and labels. A name that METRICS does not list raises KeyError, labels that it does not ValueError."""

    def __init__(self) -> None:
        self._values: Counter[tuple[str, Labels]] = Counter()
        self._levels: dict[tuple[str, Labels], float] = {}
        self._histograms: dict[tuple[str, Labels], Histogram] = {}

    def add(self, name: str, amount: int = 1, *labels: str) -> None:
        """Add to a counter."""
        _check(name, "counter", labels)
        self._values[name, labels] += amount

    def level(self, name: str, value: float | None, *labels: str) -> None:
        """Set a gauge; None takes it away, because the value is not known."""
        _check(name, "gauge", labels)
        if value is None:
            self._levels.pop((name, labels), None)
        else:
            self._levels[name, labels] = value

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Count a value in a histogram."""
        metric = _check(name, "histogram", labels)
        histogram = self._histograms.get((name, labels))
        if histogram is None:
            histogram = self._histograms[name, labels] = Histogram(len(metric.buckets))
        histogram.counts[bisect_left(metric.buckets, value)] += 1
        histogram.total += value

    def shown(self) -> dict[str, int]:
        """Return the counters for a log: `name` or `name{label}` to value, in the order of METRICS."""
        order = list(METRICS)
        items = sorted(self._values.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
        return {f"{name}{{{','.join(labels)}}}" if labels else name: value for (name, labels), value in items}

    def values(self, metric: Metric) -> dict[Labels, float]:
        """Return a counter or gauge by labels; a counter without labels begins at 0."""
        if metric.kind == "gauge":
            return _of(self._levels, metric)
        return ({} if metric.labels else {(): 0}) | _of(self._values, metric)

    def histograms(self, metric: Metric) -> dict[Labels, Histogram]:
        """Return a histogram by labels."""
        return _of(self._histograms, metric)


def _check(name: str, kind: Kind, labels: Labels) -> Metric:
    metric = METRICS.get(name)
    if metric is None or metric.kind != kind:
        raise KeyError(f"{name!r} is no {kind}: add it to METRICS with its meaning")
    if len(labels) != len(metric.labels):
        raise ValueError(f"{name!r} has the labels {metric.labels}, not {labels}")
    return metric


def _of(values: Mapping[tuple[str, Labels], V], metric: Metric) -> dict[Labels, V]:
    return {labels: values[name, labels] for name, labels in sorted(values) if name == metric.name}

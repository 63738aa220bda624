"""A process's metrics as Prometheus reads them."""

from collections.abc import Iterator
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from pipeline.observe.counters import Counters, Histogram
from pipeline.observe.metrics import METRICS, Metric, Process


class Exposition:
    """The metrics of one process, and those of its operating-system process (`process_*`)."""

    def __init__(self, process: Process, counters: Counters) -> None:
        counters.level("build_info", 1, process, version("usage-pipeline"))
        self._registry = CollectorRegistry()
        self._registry.register(_Ours(process, counters))
        ProcessCollector(registry=self._registry)

    def encode(self, accept: str = "") -> tuple[bytes, str]:
        """Return the present values and their content type, in the format that the header `Accept` asks for."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type


class _Ours(Collector):
    def __init__(self, process: Process, counters: Counters) -> None:
        self._metrics = [metric for metric in METRICS.values() if process in metric.processes]
        self._counters = counters

    def collect(self) -> Iterator[Family]:
        """Yield every metric of the process; one of which nothing is known has no samples."""
        for metric in self._metrics:
            yield _family_of(metric, self._counters)


def _family_of(metric: Metric, counters: Counters) -> Family:
    name = f"usage_{metric.name}"
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, metric.meaning, labels=metric.labels)
        for labels, values in counters.histograms(metric).items():
            histogram.add_metric(labels, _cumulated(metric, values), values.total)
        return histogram
    family_of = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = family_of(name, metric.meaning, labels=metric.labels)
    for labels, value in counters.values(metric).items():
        family.add_metric(labels, value)
    return family


def _cumulated(metric: Metric, values: Histogram) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in metric.buckets), "+Inf"]
    return list(zip(bounds, accumulate(values.counts), strict=True))

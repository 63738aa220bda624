"""The list of metrics is closed, and what is counted comes out as Prometheus reads it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.observe.counters import Counters
from pipeline.observe.exposition import Exposition
from pipeline.observe.metrics import METRICS, Process


def samples_of(counters: Counters, process: Process = "worker") -> dict[tuple[str, tuple[str, ...]], float]:
    text = Exposition(process, counters).encode()[0].decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_are_a_closed_list() -> None:
    """A metric that nobody has described cannot be counted; labels are told apart."""
    counters = Counters()
    counters.add("rejects", 2, "malformed")
    counters.add("rejects", 1, "wrong_key")
    counters.add("lines", 5)

    assert counters.shown() == {"lines": 5, "rejects{malformed}": 2, "rejects{wrong_key}": 1}
    with pytest.raises(KeyError, match="add it to METRICS"):
        counters.add("no_such_thing")


def test_kind_and_labels_are_held_to() -> None:
    """A gauge is not added to, and a series has exactly the labels that its metric lists."""
    counters = Counters()

    with pytest.raises(KeyError, match="is no counter"):
        counters.add("worker_partitions")
    with pytest.raises(ValueError, match="labels"):
        counters.add("rejects")


def test_every_metric_is_described() -> None:
    """Each has a meaning and a unit, names its time and sizes as Prometheus does, and histograms have bounds that ascend."""
    for metric in METRICS.values():
        assert metric.meaning
        assert metric.unit
        assert (metric.unit == "seconds") == metric.name.endswith("_seconds")
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_no_metric_is_money() -> None:
    """Prometheus counts in floats: no amount is among the metrics."""
    assert not any(word in name for name in METRICS for word in ("pico", "cents", "charge", "cost", "earnings"))


def test_exposed_values_are_those_counted() -> None:
    """Counters, gauges and histograms come out under usage_*, with their labels."""
    counters = Counters()
    counters.add("lines", 3)
    counters.add("rejects", 2, "malformed")
    counters.level("worker_lag_records", 7)
    for seconds in (0.005, 0.02, 99.0):
        counters.observe("round_seconds", seconds)

    samples = samples_of(counters)

    assert samples["usage_lines_total", ()] == 3
    assert samples["usage_rejects_total", ("malformed",)] == 2
    assert samples["usage_worker_lag_records", ()] == 7
    assert samples["usage_round_seconds_bucket", ("0.005",)] == 1
    assert samples["usage_round_seconds_bucket", ("0.025",)] == 2
    assert samples["usage_round_seconds_bucket", ("+Inf",)] == samples["usage_round_seconds_count", ()] == 3
    assert samples["usage_round_seconds_sum", ()] == pytest.approx(99.025)


def test_a_process_tells_only_of_itself() -> None:
    """The sink has no lines that it rated, and the worker no rows that it inserted; counters begin at 0."""
    worker, sink = samples_of(Counters(), "worker"), samples_of(Counters(), "sink")

    assert worker["usage_lines_total", ()] == sink["usage_sink_rows_total", ()] == 0
    assert ("usage_sink_rows_total", ()) not in worker
    assert ("usage_lines_total", ()) not in sink


def test_what_is_not_known_is_absent() -> None:
    """A gauge that is taken away is no longer shown, not even as 0."""
    counters = Counters()
    counters.level("worker_lag_records", 7)

    counters.level("worker_lag_records", None)

    assert ("usage_worker_lag_records", ()) not in samples_of(counters)

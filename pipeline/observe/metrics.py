"""What the processes tell in numbers: the closed list of metrics.

A name here is the name in the logs; Prometheus sees it as `usage_<name>`, counters with `_total` behind. Whatever names a
metric elsewhere (dashboards, rules, docs/monitoring.md) is checked against this list by tests/deploy. No metric is money:
Prometheus counts in floats, and bills come from ClickHouse only.
"""

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Process = Literal["worker", "sink", "api", "alerts", "audit"]

SERVERS: tuple[Process, ...] = ("worker", "sink", "api", "alerts")
"""The processes that answer /metrics; what `audit` tells is written to a file by deploy/prometheus/audit-textfile.sh."""
WORKER: tuple[Process, ...] = ("worker",)
SINK: tuple[Process, ...] = ("sink",)
API: tuple[Process, ...] = ("api",)
ALERTS: tuple[Process, ...] = ("alerts",)
AUDIT: tuple[Process, ...] = ("audit",)

_ROUND_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_INSERT_BUCKETS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_REQUEST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metric(NamedTuple):
    """One metric: its name, what it counts in which unit, what tells its series apart, and who tells it."""

    name: str
    kind: Kind
    processes: tuple[Process, ...]
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, ascending."""

    @property
    def exposed(self) -> str:
        """Return the name that Prometheus sees."""
        return f"usage_{self.name}_total" if self.kind == "counter" else f"usage_{self.name}"


_LIST = (
    Metric("build_info", "gauge", SERVERS, "1", "1, with the process's kind and version", ("process", "version")),
    Metric("ready", "gauge", SERVERS, "1", "1 when /readyz says so, else 0"),
    # The worker.
    Metric(
        "records", "counter", WORKER, "records",
        "records of usage.events and billing.grants that were rated and whose effects are written", ("topic",),
    ),
    Metric("record_bytes", "counter", WORKER, "bytes", "bytes of their values"),
    Metric(
        "events", "counter", WORKER, "events",
        "events that were looked at; each became a line, a duplicate, a reject, a reservation or the end of one",
    ),
    Metric("duplicates", "counter", WORKER, "events", "usage events that were rated before (R6.1)"),
    Metric("rounds", "counter", WORKER, "rounds", "rounds of rating and writing"),
    Metric("lines", "counter", WORKER, "lines", "lines written to usage.lines"),
    Metric("rejects", "counter", WORKER, "records", "records and events written to usage.dead-letter", ("code",)),
    Metric(
        "poisoned", "counter", WORKER, "records",
        "of them, those written while nearly everything of their partition was rejected",
    ),
    Metric("alerts", "counter", WORKER, "alerts", "alerts written to usage.alerts"),
    Metric("closings", "counter", WORKER, "closings", "closings written to billing.closings (R10)"),
    Metric("quotas", "counter", WORKER, "records", "quota records written to usage.quota"),
    Metric("states", "counter", WORKER, "records", "changelog records written to usage.states"),
    Metric("restored", "counter", WORKER, "records", "changelog records read back in recovery"),
    Metric(
        "catalog_waits", "counter", WORKER, "waits",
        "times that a partition waited for a catalog version that was not on billing.catalog",
    ),
    Metric("rebalances", "counter", WORKER, "rebalances", "times that the group dealt out its partitions anew"),
    Metric("round_seconds", "histogram", WORKER, "seconds", "how long a round took, writing included",
           buckets=_ROUND_BUCKETS_S),
    Metric("worker_partitions", "gauge", WORKER, "partitions", "partitions that the worker works on"),
    Metric("worker_lag_records", "gauge", WORKER, "records",
           "offsets of its sources that are not rated yet; absent while Kafka does not answer"),
    Metric("worker_lag_seconds", "gauge", WORKER, "seconds",
           "how long the oldest of them has waited, by its timestamp; absent while Kafka does not answer"),
    Metric("catalog_waiting", "gauge", WORKER, "partitions", "partitions that wait for a catalog version now"),
    # The sink.
    Metric("sink_rows", "counter", SINK, "rows", "lines that are in ClickHouse, those sent again included"),
    Metric("sink_inserts", "counter", SINK, "inserts", "blocks that were inserted and whose positions are committed"),
    Metric("sink_refused", "counter", SINK, "messages", "messages that ClickHouse refused: they are in usage.dead-letter"),
    Metric("sink_insert_seconds", "histogram", SINK, "seconds", "how long a block took, waiting for ClickHouse included",
           buckets=_INSERT_BUCKETS_S),
    Metric("sink_partitions", "gauge", SINK, "partitions", "partitions of its topics that the sink has"),
    Metric("sink_lag_records", "gauge", SINK, "records",
           "messages that are not in ClickHouse yet; absent while Kafka does not answer"),
    Metric("sink_last_insert_timestamp_seconds", "gauge", SINK, "seconds",
           "when the last block was inserted (Unix time); absent before the first"),
    Metric("sink_rollup_timestamp_seconds", "gauge", SINK, "seconds",
           "when the rollup was last brought up to date (Unix time); absent before the first"),
    Metric("sink_rollup_failures", "counter", SINK, "attempts", "attempts to bring it up to date that failed"),
    # The API.
    Metric("api_requests", "counter", API, "requests", "requests that were answered", ("route", "method", "status")),
    Metric("api_request_seconds", "histogram", API, "seconds", "how long they took up to the head of the answer",
           ("route",), _REQUEST_BUCKETS_S),
    Metric("api_in_flight_bytes", "gauge", API, "bytes", "bytes of bodies that are being taken in"),
    Metric("quota_age_seconds", "gauge", API, "seconds",
           "how long ago usage.quota was known to be read to its end; absent before the first time"),
    Metric("quota_streams", "gauge", API, "streams", "quota streams that are open"),
    # Delivery of alerts.
    Metric("alert_deliveries", "counter", ALERTS, "alerts", "alerts that a target has taken", ("target",)),
    Metric("alert_failures", "counter", ALERTS, "attempts", "attempts that failed and are made again", ("target",)),
    Metric("alerts_given_up", "counter", ALERTS, "alerts", "alerts that no target took: they are in usage.dead-letter",
           ("target",)),
    Metric("alerts_waiting", "gauge", ALERTS, "partitions", "partitions that wait for a target", ("target",)),
    # The audit.
    Metric("audit_exit_code", "gauge", AUDIT, "1", "exit code of the last `usage audit`: 0 all is well, 1 something is wrong,"
           " 2 it could not be done"),
    Metric("audit_finished_timestamp_seconds", "gauge", AUDIT, "seconds", "when it ended (Unix time)"),
)  # fmt: skip

METRICS = {metric.name: metric for metric in _LIST}
"""Name to metric, in the order in which they are shown."""

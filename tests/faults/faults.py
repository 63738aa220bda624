"""The faults by name. Each breaks something of a running stack, and mends what does not mend itself."""

from tests.faults import faults_servers as servers
from tests.faults import faults_workers as workers
from tests.faults.aim import Injection
from tests.faults.proxy import END_TXN, PRODUCE, REFUSAL
from tests.faults.steps import SINK_STEPS, WORKER_STEPS


def _slug(text: str) -> str:
    return text.replace(" the ", " ").replace(" ", "-")


FAULTS: dict[str, Injection] = {
    "worker-kill": workers.kill_worker,
    **{f"worker-kill-{_slug(step)}": workers.kill_worker_at(step) for step in WORKER_STEPS},
    "worker-freeze": workers.freeze_worker,
    **{f"worker-freeze-{_slug(step)}": workers.freeze_worker_at(step) for step in WORKER_STEPS[1::2]},
    "worker-add": workers.add_worker,
    "worker-remove": workers.remove_worker,
    "sink-kill": servers.kill_sink,
    **{f"sink-kill-{_slug(step)}": servers.kill_sink_at(step) for step in SINK_STEPS},
    "sink-freeze": servers.freeze_sink,
    "broker-kill": servers.kill_broker,
    "broker-kill-after-write": servers.kill_broker_at_answer(PRODUCE),
    "broker-kill-after-commit": servers.kill_broker_at_answer(END_TXN),
    "broker-freeze": servers.freeze_broker,
    "clickhouse-kill": servers.kill_clickhouse,
    "clickhouse-freeze": servers.freeze_clickhouse,
    "clickhouse-slow": servers.slow_clickhouse,
    "clickhouse-error-after-store": servers.spoil_answer(REFUSAL),
    "clickhouse-cut-after-store": servers.spoil_answer(b""),
    "net-delay-worker": servers.delay_workers,
    "net-delay-sink": servers.delay_sink,
    "net-hold-worker-write": workers.hold_worker_at(PRODUCE),
    "net-hold-worker-commit": workers.hold_worker_at(END_TXN),
    "net-cut-worker": servers.cut_worker,
    "net-cut-worker-after-write": servers.cut_worker_at_answer(PRODUCE),
    "net-cut-worker-after-commit": servers.cut_worker_at_answer(END_TXN),
    "net-cut-sink": servers.cut_sink,
    "net-cut-clickhouse": servers.cut_clickhouse,
}

"""The cost of `emit` to its host: how long a call takes, at a steady pace and as fast as can be, whatever the collector does.

The collector is a process of its own. Each call is timed by itself; a pause between calls belongs to no call.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from bench.machine import describe
from bench.report import keep, percentile, progress, run_main, shown, spread, table
from pipeline.sdk import Limits, UsageClient
from tests.fixtures.servers import free_port

EVENT: Any = {
    "workspace": "legal",
    "feature": "contract-extraction",
    "model": "gpt-5-mini",
    "unit": "document",
    "quantity": 3,
    "input_tokens": 18220,
    "output_tokens": 911,
    "cost": "0.0123",
    "operation": "job-88",
}
WHO = {"key": "uk_bench_bench", "deployment": "dep_bench", "customer": "bench", "environment": "production"}
ROOM = Limits(memory_events=400_000, memory_bytes=400 << 20)
"""Memory for a whole round, so that a call is never refused."""
PACES = {"1 a ms": (0.001, 0.1), "at once": (0.0, 1.0)}
"""By name: the pause between calls, and which share of the calls is made."""
PERCENTILES = {"p50_us": 50, "p99_us": 99, "p99_9_us": 99.9, "most_us": 100}
SHOWN = (*PERCENTILES, "events_per_s")
IMPORTED_S = 1.5
FLUSH_S = 60.0
_SERVE = "import signal; from tests.sdk.collector import Collector; print(Collector().url, flush=True); signal.pause()"


@contextmanager
def answering() -> Iterator[str]:
    """Run a collector that accepts everything, and yield its address."""
    with subprocess.Popen([sys.executable, "-c", _SERVE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@contextmanager
def hanging() -> Iterator[str]:
    """Listen and never answer; yield the address."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=128)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def nobody() -> Iterator[str]:
    """Yield an address at which nobody listens."""
    yield f"http://127.0.0.1:{free_port()}"


COLLECTORS = {"answers": answering, "hangs": hanging, "is not there": nobody}


def call_us(client: UsageClient, calls: int, pause_s: float) -> list[float]:
    """Return how long each call of emit took, in microseconds."""
    emit, now = client.emit, time.perf_counter_ns
    took = []
    for _ in range(calls):
        began = now()
        emit(**EVENT)
        took.append((now() - began) / 1000)
        if pause_s:
            time.sleep(pause_s)
    return took


def measure(url: str, calls: int, pause_s: float, *, answers: bool) -> dict[str, float]:
    """Return percentiles of the calls' times, and how many events a second were acknowledged by one that answers."""
    with tempfile.TemporaryDirectory() as folder:
        client = UsageClient(url, spool=folder, limits=ROOM, **WHO)
        client.emit(**EVENT)
        time.sleep(IMPORTED_S)  # the first request imports httpx, once in a process
        began = time.monotonic()
        took = call_us(client, calls, pause_s)
        if answers and not client.flush(FLUSH_S):
            raise AssertionError("the collector did not keep up")
        passed_s = time.monotonic() - began
        client.close(0.1)
        if client.stats().dropped:
            raise AssertionError("events were dropped")
    found = {name: percentile(took, percent) for name, percent in PERCENTILES.items()}
    return found | ({"events_per_s": calls / passed_s} if answers else {})


def import_s() -> float:
    """Return how long a new interpreter takes to import the SDK."""
    code = "import time; began = time.perf_counter(); import pipeline.sdk; print(time.perf_counter() - began)"
    return float(subprocess.check_output([sys.executable, "-c", code], text=True))


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m bench.sdk", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="calls of emit in a round, as fast as can be")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(describe(), flush=True)
    cases = [(name, pace) for name in COLLECTORS for pace in PACES]
    found: dict[tuple[str, str], list[dict[str, float]]] = {case: [] for case in cases}
    for number in range(arguments.rounds):
        progress(f"round {number + 1} of {arguments.rounds}")
        for (name, pace), rounds in found.items():
            pause_s, share = PACES[pace]
            with COLLECTORS[name]() as url:
                rounds.append(measure(url, int(arguments.calls * share), pause_s, answers=name == "answers"))
    rows = [
        {"collector": name, "pace": pace} | {key: spread([each[key] for each in rounds], 1) for key in rounds[0]}
        for (name, pace), rounds in found.items()
    ]
    imports = spread([import_s() * 1000 for _ in range(arguments.rounds)], 0)
    print(
        table(
            ["the collector", "calls", "p50 us", "p99 us", "p99.9 us", "longest us", "events/s acknowledged"],
            [
                [row["collector"], row["pace"], *(shown(row[key]) if key in row else "-" for key in SHOWN)]
                for row in rows
            ],
        )
    )
    print(f"\nimport pipeline.sdk: {shown(imports)} ms")
    keep("sdk", {"emit": rows, "import_ms": imports})


if __name__ == "__main__":
    run_main(main)

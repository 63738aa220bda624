"""`make bench-peers`: the same work by other stream processors and by ours, side by side on this machine.

Each run has a fresh broker, all of its input in it, and one process of the peer. CPU time is the process's own (user and
system, all threads and children, the JVM's compiler included), read from outside between two moments in the middle of
the input: start-up does not count. Every peer commits its positions and states at the same interval. Peers take turns,
so that a noisy moment hits all of them. What comes out is counted and added up, and must be what a plain rating in
memory gives. "500" has arrays of 500 events of one customer a message, else it is one event a message.
"""

import argparse
import asyncio
import json
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.machine import describe
from bench.peers.environments import EnvironmentMissingError
from bench.peers.events import make_catalog, make_messages
from bench.peers.measure import Load, Run, RunError, decode_only, run
from bench.peers.programs.terms import INCLUDED, PRICE_PICO
from bench.peers.roster import PEERS, Peer
from tests.fixtures.apache_kafka import apache_kafka_fault

TARGETS = {"quix": 5.0, "bytewax": 2.0}
"""How many times less CPU an event ours is to take."""


def choose_broker(wanted: str) -> str:
    """Return the broker to run on: Apache Kafka where `make kafka` has been, unless another one is wanted."""
    fault = apache_kafka_fault()
    if wanted == "apache" and fault:
        sys.exit(fault)
    if wanted != "auto":
        return wanted
    return "embedded" if fault else "apache"


def measure(arguments: argparse.Namespace, peers: list[Peer]) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Return the runs by peer, and why some have none."""
    loads: dict[tuple[int, int], Load] = {}
    found: dict[str, list[Run]] = {peer.name: [] for peer in peers}
    faults: dict[str, str] = {}
    for number in range(arguments.rounds):
        for peer in peers:
            if peer.name in faults or number >= peer.rounds_max:
                continue
            size = round(peer.events * arguments.scale / peer.per_message) * peer.per_message, peer.per_message
            if size not in loads:
                loads[size] = Load(*make_messages(*size))
            began = time.monotonic()
            try:
                found[peer.name].append(_once(peer, loads[size], arguments))
            except (EnvironmentMissingError, RunError, TimeoutError, ValueError) as fault:
                faults[peer.name] = f"{fault}" or repr(fault)
            last = found[peer.name][-1].cpu_us if peer.name not in faults else float("nan")
            seconds = time.monotonic() - began
            print(f"round {number + 1}: {peer.name}: {last:.1f} us ({seconds:.0f} s)", file=sys.stderr, flush=True)
    return found, faults


def _once(peer: Peer, load: Load, arguments: argparse.Namespace) -> Run:
    if peer.decode is not None:
        return decode_only(peer.decode, load)
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as name:
        (Path(name) / "catalog.yaml").write_text(make_catalog(INCLUDED, f"{PRICE_PICO / 10**12:.2f}"))
        folder = Path(name) / "run"
        folder.mkdir()
        return asyncio.run(run(peer, load, arguments.broker, arguments.partitions, arguments.commit_s, folder))


def summarise(found: dict[str, list[Run]], faults: dict[str, str], peers: list[Peer]) -> list[dict[str, Any]]:
    """Return a row for each peer."""
    medians = {name: statistics.median(run.cpu_us for run in runs) for name, runs in found.items() if runs}
    rows = []
    for peer in peers:
        row: dict[str, Any] = {"peer": peer.name, "events_a_message": peer.per_message, "does_less": peer.less}
        if peer.name in faults:
            row["fault"] = faults[peer.name]
        if runs := found[peer.name]:
            ours = medians.get("ours" if peer.per_message == 1 else f"ours, {peer.per_message}")
            row |= {
                "cpu_us": medians[peer.name],
                "cpu_us_runs": [run.cpu_us for run in runs],
                "wall_events_per_s": 1e6 / statistics.median(run.wall_us for run in runs),
                "events_measured": runs[0].events,
                "times_ours": medians[peer.name] / ours if ours else None,
            }
        rows.append(row)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table, and below it who does less."""
    print(f"{'':<22}{'CPU us an event':>24} {'runs':>5} {'a core':>9} {'wall':>9} {'ours':>7}")
    for row in rows:
        if "cpu_us" not in row:
            print(f"{row['peer']:<22} not measured: {row['fault'].splitlines()[0][:90]}")
            continue
        runs = row["cpu_us_runs"]
        spread = f"({min(runs):.1f}..{max(runs):.1f})"
        times = f"x{row['times_ours']:.2f}" if row["times_ours"] else ""
        print(
            f"{row['peer']:<22}{row['cpu_us']:>8.1f} {spread:>15} {len(runs):>5} {1e6 / row['cpu_us']:>9,.0f} "
            f"{row['wall_events_per_s']:>9,.0f} {times:>7}"
        )
    print("\nwhat they do less than ours:")
    for row in rows:
        print(f"  {row['peer']}: {row['does_less']}")
    print("\ntargets, times the CPU of ours on messages of the same size:")
    for row in rows:
        if (target := TARGETS.get(row["peer"].partition(",")[0])) and row.get("times_ours"):
            print(f"  {row['peer']}: {row['times_ours']:.2f}, wanted {target:g} or more")


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="times as many events as each peer's default")
    parser.add_argument("--peer", action="append", help="only peers whose name begins so; may be given again")
    parser.add_argument("--broker", choices=("auto", "embedded", "apache"), default="auto")
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--commit-s", type=float, default=1.0, help="how often positions and states are made durable")
    arguments = parser.parse_args()
    arguments.broker = choose_broker(arguments.broker)
    return arguments


def main() -> None:
    """Measure and print a table, and write it as JSON to bench/results/."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of every retry until a topic has its leader
    arguments = parse()
    wanted = tuple(arguments.peer or [""])
    peers = [peer for peer in PEERS if peer.name.startswith(wanted)]
    found, faults = measure(arguments, peers)
    rows = summarise(found, faults, peers)
    print(describe())
    print(
        f"{arguments.broker} broker, {arguments.partitions} partition(s), commit every {arguments.commit_s:g} s, "
        f"{arguments.rounds} rounds: median (least..most)\n"
    )
    show(rows)
    results = Path(__file__).parents[1] / "results"
    results.mkdir(exist_ok=True)
    report = {"machine": describe(), "options": vars(arguments), "peers": rows}
    (results / "peers.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

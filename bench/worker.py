"""The worker: Kafka in, rated out, state changelogged and committed, as a real `usage worker` process.

A backlog is produced first. Then the worker is watched from the outside: from one commit of its group to another, at
least `--window` seconds later, how many events it has done, and how much CPU time (user + system, all threads) it and
the broker have used. Its start and its first commits, in which it meets the customers, do not count.
"""

import argparse
import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from bench.load import SHAPES, make_records
from bench.machine import describe
from bench.processes import (
    broker_with_topics,
    brokers_at_hand,
    pid_of,
    produce,
    running,
    scratch_folder,
)
from bench.report import keep, progress, run_main, shown, table
from bench.watch import Backlog, Sample, Window, cpu_us, samples_of, throughput, windows_of
from pipeline.domain.records import EVENTS_TOPIC, Record

EVENTS = {1: 400_000, 20: 800_000, 500: 1_300_000}
"""Events of the backlog, by events a message: so many that a fast worker takes long enough."""
SHAPES_BY_CUSTOMERS = {2_000: "mixed", 100_000: "many"}
WARM_UP_SHARE = 0.1


class Case(NamedTuple):
    """What is measured at once."""

    customers: int
    message: int
    """Events a message."""
    partitions: int
    broker: str

    def words(self) -> str:
        """Return it for people."""
        return f"{self.message} a message, {self.customers:,} customers, {self.partitions} partitions, {self.broker}"


async def measure(case: Case, records: list[Record], catalog: Path, windows: int, window_s: float) -> dict[str, Any]:
    """Drain a backlog on a fresh broker, and return what the worker used."""
    with scratch_folder() as folder:
        async with broker_with_topics(case.broker, folder, partitions=case.partitions, catalog=catalog) as (
            server,
            settings,
        ):
            backlog = Backlog(EVENTS_TOPIC, await produce(settings, records), lambda _, offset: offset * case.message)
            with running("worker", settings, folder) as worker:
                await worker.ready()
                pids = {"worker": worker.pid, "broker": pid_of(server)}
                samples = samples_of(settings, settings.worker_group, backlog, pids, worker.check)
                found = await _windows(samples, len(records) * case.message, windows, window_s)
    if not found:
        raise RuntimeError(f"the backlog of {case.words()} was done before it could be measured: give more --events")
    used = {f"{name}_us": cpu_us(found, name) for name in pids}
    return case._asdict() | {"windows": len(found)} | used | {"events_per_s": throughput(found)}


async def _windows(samples: AsyncGenerator[Sample, None], events: int, windows: int, window_s: float) -> list[Window]:
    """Return so many windows from the end of the warm-up on, or as many as there are until a partition is through."""
    seen: list[Sample] = []
    async with aclosing(samples):
        async for sample in samples:
            if sample.ended or len(windows_of(seen, window_s)) >= windows:
                break
            if sample.done >= WARM_UP_SHARE * events:
                seen.append(sample)
    whole = [(seen[0], seen[-1])] if len(seen) > 1 else []
    return windows_of(seen, window_s) or whole


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every case that is asked for."""
    found = []
    with scratch_folder() as folder:
        for customers in arguments.customers:
            shape = SHAPES[SHAPES_BY_CUSTOMERS[customers]]
            catalog = shape.write_catalog(folder / f"catalog-{customers}.yaml")
            for message in arguments.messages:
                events = arguments.events or EVENTS.get(message, max(EVENTS.values()))
                progress(f"worker: making {events:,} events, {message} a message, of {customers:,} customers")
                records = list(make_records(shape, events, message))
                for broker in arguments.brokers:
                    for partitions in arguments.partitions:
                        case = Case(customers, message, partitions, broker)
                        progress(f"worker: {case.words()}")
                        found.append(asyncio.run(measure(case, records, catalog, arguments.windows, arguments.window)))
                        progress(f"  {shown(found[-1]['worker_us'])} us an event")
    return found


def main() -> None:
    """Measure and print a table, and write it as JSON to bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", nargs="+", type=int, default=list(EVENTS), help="events a message")
    parser.add_argument("--partitions", nargs="+", type=int, default=[1, 4])
    parser.add_argument(
        "--customers", nargs="+", type=int, choices=SHAPES_BY_CUSTOMERS, default=list(SHAPES_BY_CUSTOMERS)
    )
    parser.add_argument("--brokers", nargs="+", choices=("embedded", "apache"), default=brokers_at_hand())
    parser.add_argument("--events", type=int, help="events of the backlog, else by events a message")
    parser.add_argument("--windows", type=int, default=5, help="how often each case is measured")
    parser.add_argument("--window", type=float, default=0.9, help="least seconds of a window")
    arguments = parser.parse_args()
    rows = run(arguments)
    print(describe())
    print(
        "worker: Kafka in, lines and states out and committed; CPU time of each process, windows of a running worker\n"
    )
    titles = (
        "events a message",
        "customers",
        "partitions",
        "broker",
        "worker us an event",
        "broker us",
        "events/s (wall)",
    )
    cells = [
        (
            row["message"],
            f"{row['customers']:,}",
            row["partitions"],
            row["broker"],
            shown(row["worker_us"]),
            shown(row["broker_us"]),
            shown(row["events_per_s"]),
        )
        for row in rows
    ]
    print(table(titles, cells))
    keep("worker", {"worker": rows})


if __name__ == "__main__":
    run_main(main)

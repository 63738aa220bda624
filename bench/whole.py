"""The whole way: events produced until their lines are queryable, with a real broker, worker, sink and ClickHouse.

Throughput: a backlog that was there before, drained by worker and sink together; and, since senders need the machine
too, what gets through while we send as fast as it follows. The latter is the highest load.

Delay: at shares of the highest load, sent evenly. A marker customer of each partition sends an event now and then; after
each commit of the sink we ask ClickHouse for the last lines of the markers. The delay is from the call that sends an
event to the answer that has its line, so that the commit, its being noticed and the question are in it (some 50 ms).
"""

import argparse
import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from bench.load import SHAPES, make_records
from bench.machine import describe
from bench.markers import MARKERS_MAX, Markers
from bench.pipelines import Pipeline, pipeline_with_backlog
from bench.processes import brokers_at_hand, scratch_folder
from bench.report import keep, percentile, progress, run_main, shown, spread, table
from bench.watch import Window, cpu_us, equal_windows, throughput
from pipeline.domain.records import Record

SHAPE = SHAPES["zipf"]
SHARES = {"a quarter": 0.25, "half": 0.5, "nine tenths": 0.9}
WARM_UP_SHARE = 0.1
MORE_THAN_DRAINED = 1.2
"""So many events are made before, for the time that we send them: making them takes the machine too."""
AHEAD_S = 3.0
"""How much may be on its way when we send as fast as the pipeline follows, by what it drains in a second."""
SETTLE_S = 3.0
"""After a pace has begun, before delays count."""


def used(windows: Sequence[Window], pipeline: Pipeline) -> dict[str, Any]:
    """Return throughput, and CPU time an event by process."""
    return {"events_per_s": throughput(windows)} | {f"{name}_us": cpu_us(windows, name) for name in pipeline.pids}


async def drain(pipeline: Pipeline, events: int, windows: int) -> dict[str, Any]:
    """Return what was used while a backlog became queryable."""
    samples = [sample async for sample in pipeline.samples(lambda rows: rows >= events)]
    return used(equal_windows([each for each in samples if each.done >= WARM_UP_SHARE * events], windows), pipeline)


async def flood(
    pipeline: Pipeline, records: Iterator[Record], arguments: argparse.Namespace, drained: int
) -> dict[str, Any]:
    """Return what was used while we sent as fast as the pipeline follows."""
    seconds = SETTLE_S + arguments.windows * arguments.window
    made = list(itertools.islice(records, int(seconds * drained * MORE_THAN_DRAINED / arguments.message)))
    samples = await pipeline.send_while_followed(iter(made), arguments.message, int(AHEAD_S * drained), seconds)
    warm = [each for each in samples if each.at_s >= samples[0].at_s + SETTLE_S]
    return used(equal_windows(warm, arguments.windows), pipeline)


async def pace(
    pipeline: Pipeline, records: Iterator[Record], markers: Markers, arguments: argparse.Namespace, load: float
) -> dict[str, Any]:
    """Return the delays at an even load, in events a second, and what was used."""
    seconds = SETTLE_S + arguments.windows * arguments.window
    per_s = load / arguments.message
    made = list(itertools.islice(records, int(seconds * per_s)))
    async with markers.watching():
        async with markers.sending():
            began_s = time.monotonic()
            cpu_before, rows_before = pipeline.cpu_s(), await pipeline.rows()
            sent_per_s = await pipeline.send_evenly(made, per_s)
            cpu_after, rows_after = pipeline.cpu_s(), await pipeline.rows()
        await markers.all_seen()
    spans = [began_s + SETTLE_S + number * arguments.window for number in range(arguments.windows + 1)]
    delays = [markers.delays(*span) for span in itertools.pairwise(spans)]
    return {
        "wanted_events_per_s": round(load),
        "sent_events_per_s": round(sent_per_s * arguments.message),
        "p50_s": spread([percentile(each, 50) for each in delays]),
        "p99_s": spread([percentile(each, 99) for each in delays]),
        "p99_of_all_s": round(percentile(list(itertools.chain(*delays)), 99), 2),
        "markers": sum(map(len, delays)),
    } | {
        f"{name}_us": round((cpu_after[name] - cpu_before[name]) / (rows_after - rows_before) * 1e6, 1)
        for name in pipeline.pids
    }


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure throughput, then the delays."""
    records = make_records(SHAPE, 10**9, arguments.message)
    found: dict[str, Any] = {}
    with scratch_folder() as folder:
        catalog = replace(SHAPE, customers=SHAPE.customers + MARKERS_MAX).write_catalog(folder / "catalog.yaml")
        progress(f"whole: a backlog of {arguments.events:,} events")
        count = arguments.events // arguments.message
        backlog = itertools.islice(records, count)
        async with pipeline_with_backlog(arguments.broker, folder, arguments.partitions, catalog, backlog) as pipeline:
            found["drained"] = await drain(pipeline, count * arguments.message, arguments.windows)
            drained = found["drained"]["events_per_s"]["median"]
            progress(f"whole: {drained:,} events/s; now sending as fast as it follows")
            found["flooded"] = await flood(pipeline, records, arguments, drained)
            highest = found["flooded"]["events_per_s"]["median"]
            markers = Markers(pipeline, SHAPE.customers)
            found["paced"] = {}
            for name, share in SHARES.items():
                progress(f"whole: delays at {name} of {highest:,} events/s")
                found["paced"][name] = await pace(pipeline, records, markers, arguments, share * highest)
    return found


def main() -> None:
    """Measure and print tables, and write it as JSON to bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=600_000, help="events of the backlog")
    parser.add_argument("--message", type=int, default=100, help="events a message")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--broker", choices=brokers_at_hand(), default="embedded")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--window", type=float, default=4.0, help="seconds of a window of sending")
    arguments = parser.parse_args()
    found = asyncio.run(run(arguments))
    print(describe())
    print(
        f"the whole way, {arguments.message} events a message, {arguments.partitions} partitions, {arguments.broker} broker; CPU time an event\n"
    )
    processes = ("broker", "worker", "sink", "clickhouse")
    titles = ("", "events/s (wall)", *(f"{name} us" for name in processes))
    rows = [
        (words, shown(each["events_per_s"]), *(shown(each[f"{name}_us"]) for name in processes))
        for words, each in (("a backlog, drained", found["drained"]), ("sent as fast as it follows", found["flooded"]))
    ]
    print(table(titles, rows))
    print("\ndelay from sending to queryable, in seconds\n")
    titles = (
        "load, of the highest",
        "events/s sent",
        "p50",
        "p99",
        "p99 of all",
        "markers",
        *(f"{name} us" for name in processes),
    )
    rows = [
        (
            name,
            f"{each['sent_events_per_s']:,}",
            shown(each["p50_s"]),
            shown(each["p99_s"]),
            each["p99_of_all_s"],
            each["markers"],
            *(each[f"{of}_us"] for of in processes),
        )
        for name, each in found["paced"].items()
    ]
    print(table(titles, rows))
    keep("whole", found)


if __name__ == "__main__":
    run_main(main)

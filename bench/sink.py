"""The sink: lines from Kafka to ClickHouse, as a real `usage sink` and the embedded ClickHouse as a process.

Lines are rated here and written to Kafka as the worker writes them. For each size of blocks a new sink, with a group of
its own, takes all of them to an empty ClickHouse; it is watched from commit to commit. ClickHouse merges parts while it
takes others, and after: its CPU time is given for the time of the inserts, and in all, until nothing is left to merge.
"""

import argparse
import asyncio
import bisect
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect
from aiokafka import AIOKafkaConsumer, TopicPartition
from clickhouse_connect.driver.client import Client

from bench.load import SHAPES, make_records
from bench.machine import describe
from bench.processes import (
    broker_with_topics,
    brokers_at_hand,
    cpu_s,
    pid_of,
    running,
    scratch_folder,
    started,
)
from bench.report import keep, progress, run_main, shown, spread, table
from bench.watch import Backlog, Sample, cpu_us, equal_windows, samples_of, throughput
from pipeline.codec.states import Positions
from pipeline.domain.records import LINES_TOPIC
from pipeline.observe.counters import Counters
from pipeline.rating.ledger import Ledger
from pipeline.settings import Settings
from pipeline.settings.clients import clickhouse_arguments, consumer_arguments
from pipeline.sink.migrations import migrate
from pipeline.stream.effects import PartitionWriter
from tests.fixtures.servers import Server, clickhouse_server

ROUND_EVENTS = 20_000
BUNDLE = 100
MERGES_S_MAX = 60.0
WARM_UP_SHARE = 0.1


async def fill(settings: Settings, events: int) -> None:
    """Rate events of each partition and write what follows, as a worker does."""
    shape = SHAPES["mixed"]
    catalog = shape.catalog()
    for partition in range(settings.partitions):
        ledger = Ledger(catalog)
        writer = PartitionWriter(settings, Counters(), partition)
        await writer.start()
        count = events // settings.partitions
        records = make_records(shape, count, BUNDLE, seed=partition)
        for done in range(0, count, ROUND_EVENTS):
            for record in itertools.islice(records, ROUND_EVENTS // BUNDLE):
                ledger.rate(record)
            await writer.write(ledger.take_effects(), Positions(done + ROUND_EVENTS, 0))
        await writer.stop()


async def rows_by_offset(settings: Settings) -> list[list[tuple[int, int]]]:
    """Return for each partition of usage.lines the offset after each record, and the rows until then."""
    consumer = AIOKafkaConsumer(**consumer_arguments(settings), max_partition_fetch_bytes=16 << 20)
    await consumer.start()
    try:
        places = [TopicPartition(LINES_TOPIC, partition) for partition in range(settings.partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        rows: list[list[tuple[int, int]]] = [[(0, 0)] for _ in places]
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                found = rows[place.partition]
                for record in records:
                    found.append((record.offset + 1, found[-1][1] + int(dict(record.headers)["lines"])))
    finally:
        await consumer.stop()
    return rows


def backlog_of(rows: list[list[tuple[int, int]]]) -> Backlog:
    """Return the lines as a backlog."""

    def done_at(partition: int, offset: int) -> int:
        found = rows[partition]
        return found[bisect.bisect_right(found, offset, key=lambda each: each[0]) - 1][1]

    return Backlog(LINES_TOPIC, [found[-1][0] for found in rows], done_at)


@asynccontextmanager
async def clickhouse_with_tables(folder: Path) -> AsyncIterator[tuple[Server, str]]:
    """Run an empty ClickHouse with the tables while the block runs, and yield it with its address."""
    async with started(clickhouse_server(folder)) as server:
        with client_of(Settings(clickhouse=server.address)) as client:  # type: ignore[call-arg]
            migrate(client)
        yield server, server.address


@contextlib.contextmanager
def client_of(settings: Settings) -> Iterator[Client]:
    """Yield a client of ClickHouse."""
    with contextlib.closing(clickhouse_connect.get_client(**clickhouse_arguments(settings))) as client:
        yield client


async def measure(settings: Settings, backlog: Backlog, rows_max: int, folder: Path, windows: int) -> dict[str, Any]:
    """Take all lines to an empty ClickHouse in blocks of at most so many rows, and return what that used."""
    async with clickhouse_with_tables(folder / f"clickhouse-{rows_max}") as (clickhouse, address):
        more = {"clickhouse": address, "sink_rows_max": rows_max, "sink_group": f"sink-{rows_max}"}
        here = settings.model_copy(update=more)
        before_s = cpu_s(pid_of(clickhouse))
        with running("sink", here, folder) as sink:
            pids = {"sink": sink.pid, "clickhouse": pid_of(clickhouse)}
            samples = [each async for each in samples_of(here, here.sink_group, backlog, pids, sink.check)]
        with client_of(here) as client:
            await asyncio.to_thread(_await_merges, client)
            in_all_s = cpu_s(pid_of(clickhouse)) - before_s
            disk = _disk(client)
    return (
        {"rows_max": rows_max, "clickhouse_in_all_us": in_all_s / samples[-1].done * 1e6}
        | disk
        | _summary(samples, windows)
    )


def _summary(samples: list[Sample], number: int) -> dict[str, Any]:
    warm = [sample for sample in samples if sample.done >= WARM_UP_SHARE * samples[-1].done]
    windows = equal_windows(warm, number)
    return {
        "block_rows": spread([b.done - a.done for a, b in itertools.pairwise(samples)], 0),
        "rows_per_s": throughput(windows),
        "sink_us": cpu_us(windows, "sink"),
        "clickhouse_us": cpu_us(windows, "clickhouse"),
        "both_us": cpu_us(windows, "sink", "clickhouse"),
    }


def _await_merges(client: Client) -> None:
    deadline = time.monotonic() + MERGES_S_MAX
    quiet = 0
    while quiet < 5 and time.monotonic() < deadline:
        quiet = quiet + 1 if client.command("SELECT count() FROM system.merges") == 0 else 0
        time.sleep(0.2)


def _disk(client: Client) -> dict[str, Any]:
    sizes = (
        "SELECT sum(bytes_on_disk) / sum(rows), sum(data_uncompressed_bytes) / sum(rows), count() "
        "FROM system.parts WHERE database = 'usage' AND table = 'usage_lines' AND active"
    )
    as_is, _, parts = client.query(sizes).result_rows[0]
    client.command("OPTIMIZE TABLE usage.usage_lines FINAL")
    merged, raw, _ = client.query(sizes).result_rows[0]
    return {
        "bytes_a_line_on_disk": round(as_is, 1),
        "parts": parts,
        "bytes_a_line_on_disk_in_one_part": round(merged, 1),
        "bytes_a_line_uncompressed": round(raw, 1),
    }


async def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Make the lines once, and measure every block size."""
    with scratch_folder() as folder:
        async with broker_with_topics(arguments.broker, folder, partitions=arguments.partitions) as (_, settings):
            progress(f"sink: rating {arguments.rows:,} events and writing their lines")
            await fill(settings, arguments.rows)
            backlog = backlog_of(await rows_by_offset(settings))
            found = []
            for rows_max in arguments.blocks:
                progress(f"sink: blocks of {rows_max:,} rows")
                found.append(await measure(settings, backlog, rows_max, folder, arguments.windows))
                progress(
                    f"  {shown(found[-1]['sink_us'])} us a row and {shown(found[-1]['clickhouse_us'])} in ClickHouse"
                )
    return found


def main() -> None:
    """Measure and print a table, and write it as JSON to bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_200_000)
    default = Settings.model_fields["sink_rows_max"].default
    parser.add_argument(
        "--blocks",
        nargs="+",
        type=int,
        default=[default, 10_000, 30_000],
        help="most rows of an insert (sink_rows_max)",
    )
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--broker", choices=brokers_at_hand(), default="embedded")
    parser.add_argument("--windows", type=int, default=5, help="into how many windows the rows are divided")
    arguments = parser.parse_args()
    rows = asyncio.run(run(arguments))
    print(describe())
    print(
        f"sink: {arguments.rows:,} lines from Kafka to ClickHouse; CPU time of each process, windows of a running sink\n"
    )
    titles = (
        "rows an insert: most",
        "found",
        "sink us a row",
        "ClickHouse us",
        "until merged",
        "both us",
        "rows/s (wall)",
    )
    cells = [
        (
            f"{row['rows_max']:,}",
            f"{row['block_rows']['median']:,}",
            shown(row["sink_us"]),
            shown(row["clickhouse_us"]),
            f"{row['clickhouse_in_all_us']:.1f}",
            shown(row["both_us"]),
            shown(row["rows_per_s"]),
        )
        for row in rows
    ]
    print(table(titles, cells))
    print(
        f"\nbytes a line on disk: {rows[0]['bytes_a_line_on_disk']} in {rows[0]['parts']} parts, "
        f"{rows[0]['bytes_a_line_on_disk_in_one_part']} in one, {rows[0]['bytes_a_line_uncompressed']} uncompressed"
    )
    keep("sink", {"rows": arguments.rows, "sink": rows})


if __name__ == "__main__":
    run_main(main)

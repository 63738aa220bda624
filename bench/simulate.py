"""What if: the lines of a month in ClickHouse, rated under another catalog by one process a core (docs/simulate.md).

Lines are rated here and put into the embedded ClickHouse. The time is wall-clock time from reading to bills, with the start
of the processes; ClickHouse runs on the same cores.
"""

import argparse
import asyncio
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.catalogs import PLANS, build_catalog
from bench.load import SHAPES, make_records
from bench.machine import describe
from bench.processes import cpu_s, pid_of, scratch_folder
from bench.report import keep, progress, run_main, shown, spread, table
from bench.sink import clickhouse_with_tables, client_of
from pipeline.billing.simulate import parts_of, read_customers, read_periods
from pipeline.billing.simulate_pool import simulate_parts
from pipeline.codec.lines import COLUMNS, encode_rows
from pipeline.domain.catalog import Catalog
from pipeline.rating.offline import OfflineRating
from pipeline.settings import Settings

BUNDLE = 100
SHAPE = "mixed"
_INSERT_LINES = 50_000


def line_blocks(shape: str, catalog: Catalog, events: int) -> Iterator[bytes]:
    """Yield the lines of a load as they stand in usage.lines."""
    rating = OfflineRating(catalog)
    lines: list[Any] = []
    for record in make_records(SHAPES[shape], events, BUNDLE):
        lines += rating.rate(record).lines
        if len(lines) >= _INSERT_LINES:
            yield encode_rows(lines)
            lines = []
    yield encode_rows(lines)


async def measure(plans: list[str], events: int, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Simulate the month of a load under other plans; return lines a second of each."""
    catalog = SHAPES[SHAPE].catalog()
    async with clickhouse_with_tables(folder / "clickhouse") as (clickhouse, address):
        settings = Settings(clickhouse=address)  # type: ignore[call-arg]
        with client_of(settings) as client:
            progress(f"simulate: making {events:,} lines")
            for block in line_blocks(SHAPE, catalog, events):
                client.raw_insert("usage.usage_lines", json.loads(COLUMNS), block, fmt="JSONCompactEachRow")
            client.command("OPTIMIZE TABLE usage.usage_lines FINAL")
            rows = []
            for plan in plans:
                new = build_catalog(plan, len(catalog.customers))
                found = []
                for number in range(rounds):
                    progress(f"simulate: {plan}, round {number + 1} of {rounds}")
                    found.append(_once(settings, client, new, pid_of(clickhouse)))
                rows.append(_row(plan, found))
    return rows


def _row(plan: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "plan": plan,
        "lines": found[0]["lines"],
        "obstacles": found[0]["obstacles"],
        "us_a_line": spread([each["seconds"] / each["lines"] * 1e6 for each in found]),
        "lines_per_s": spread([each["lines"] / each["seconds"] for each in found], 0),
        "clickhouse_us": spread([each["clickhouse_s"] / each["lines"] * 1e6 for each in found]),
        "ours_us": spread([each["ours_s"] / each["lines"] * 1e6 for each in found]),
    }


def _once(settings: Settings, client: Any, new: Catalog, clickhouse: int) -> dict[str, Any]:
    """Simulate once; processes start and end within the time that is measured."""
    began, before_s, ours = time.monotonic(), cpu_s(clickhouse), _children_s()
    month = read_periods(client)[-1]
    parts = parts_of(month, read_customers(client, month, ()))
    lines = obstacles = 0
    for result in simulate_parts(settings, parts, new, {}, frozenset()):
        lines += result.lines
        obstacles += len(result.obstacles)
    return {
        "lines": lines,
        "obstacles": obstacles,
        "seconds": time.monotonic() - began,
        "clickhouse_s": cpu_s(clickhouse) - before_s,
        "ours_s": _children_s() - ours,
    }


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print a table, and write it as JSON to bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plans", nargs="+", choices=PLANS, default=["included", "mixed", "overage"])
    arguments = parser.parse_args()
    with scratch_folder() as folder:
        rows = asyncio.run(measure(arguments.plans, arguments.events, arguments.rounds, folder))
    print(describe())
    print(
        f"simulation of a month of {arguments.events:,} events from lines in ClickHouse, on all cores with ClickHouse\n"
    )
    titles = ("new plans", "lines", "lines/s (wall)", "CPU us a line", "ClickHouse us", "customers for the log")
    cells = [
        (
            row["plan"],
            f"{row['lines']:,}",
            shown(row["lines_per_s"]),
            shown(row["ours_us"]),
            shown(row["clickhouse_us"]),
            row["obstacles"],
        )
        for row in rows
    ]
    print(table(titles, cells))
    keep("simulate", {"events": arguments.events, "simulate": rows})


if __name__ == "__main__":
    run_main(main)

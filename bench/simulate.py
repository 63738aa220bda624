"""What if: the lines of a month in ClickHouse, rated under another catalog by one process a core (docs/simulate.md).

Lines are rated here and put into the embedded ClickHouse. The time is wall-clock time from reading to bills, with the start
of the processes; ClickHouse runs on the same cores.
"""

import argparse
import asyncio
import json
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
from pipeline.billing.simulate import parts_of, read_customers
from pipeline.billing.simulate_pool import simulate_parts
from pipeline.codec.lines import COLUMNS, encode_rows
from pipeline.domain.catalog import Catalog
from pipeline.rating.offline import OfflineRating
from pipeline.settings import Settings

BUNDLE = 100
CUSTOMERS = 2_000
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


async def measure(shape: str, plan: str, events: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Simulate the month of a load under the same plans with other prices; return lines a second of each round."""
    catalog = SHAPES[shape].catalog()
    new = build_catalog(plan, len(catalog.customers))
    async with clickhouse_with_tables(folder / f"clickhouse-{shape}") as (clickhouse, address):
        settings = Settings(clickhouse=address)  # type: ignore[call-arg]
        with client_of(settings) as client:
            progress(f"simulate: {events:,} lines of {shape}")
            for block in line_blocks(shape, catalog, events):
                client.raw_insert("usage.usage_lines", json.loads(COLUMNS), block, fmt="JSONCompactEachRow")
            client.command("OPTIMIZE TABLE usage.usage_lines FINAL")
            found = []
            for number in range(rounds):
                progress(f"simulate: {shape}, round {number + 1} of {rounds}")
                began, before_s = time.monotonic(), cpu_s(pid_of(clickhouse))
                found.append(_once(settings, client, new) | {"began": began, "before_s": before_s})
                found[-1]["seconds"] = time.monotonic() - began
                found[-1]["clickhouse_s"] = cpu_s(pid_of(clickhouse)) - before_s
    return {
        "shape": shape,
        "plan": plan,
        "lines": found[0]["lines"],
        "obstacles": found[0]["obstacles"],
        "lines_per_s": spread([each["lines"] / each["seconds"] for each in found], 0),
        "clickhouse_us": spread([each["clickhouse_s"] / each["lines"] * 1e6 for each in found]),
    }


def _once(settings: Settings, client: Any, new: Catalog) -> dict[str, int]:
    period = client.query(
        "SELECT toString(period), count() FROM usage.usage_lines GROUP BY period ORDER BY 2 DESC LIMIT 1"
    )
    month = period.result_rows[0][0]
    parts = parts_of(month, read_customers(client, month, ()))
    lines = obstacles = 0
    for result in simulate_parts(settings, parts, new, {}, frozenset()):
        lines += result.lines
        obstacles += len(result.obstacles)
    return {"lines": lines, "obstacles": obstacles}


def main() -> None:
    """Measure and print a table, and write it as JSON to bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plans", nargs="+", choices=PLANS, default=["included", "mixed", "overage"])
    arguments = parser.parse_args()
    with scratch_folder() as folder:
        rows = [
            asyncio.run(measure("mixed", plan, arguments.events, arguments.rounds, folder)) for plan in arguments.plans
        ]
    print(describe())
    print(
        f"simulation of a month of {arguments.events:,} events from lines in ClickHouse, on all cores with ClickHouse\n"
    )
    titles = ("new plans", "lines", "lines/s (wall)", "ClickHouse CPU us a line", "customers for the log")
    cells = [
        (row["plan"], f"{row['lines']:,}", shown(row["lines_per_s"]), shown(row["clickhouse_us"]), row["obstacles"])
        for row in rows
    ]
    print(table(titles, cells))
    keep("simulate", {"events": arguments.events, "simulate": rows})


if __name__ == "__main__":
    run_main(main)

"""Statements out of ClickHouse, over HTTP, as the API and the command read them.

One customer with a million lines in a month, 2,000 others over three months, made inside the embedded ClickHouse. Each
statement is read over and over by `read_statement`, in turn: the large one, the median one, one with lines that are not
rolled up yet.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from bench.machine import describe
from bench.processes import scratch_folder
from bench.report import keep, progress, run_main, shown, spread, table
from bench.sink import clickhouse_with_tables, client_of
from pipeline.billing.statement import read_statement
from pipeline.billing.statement_list import list_statements
from pipeline.settings import Settings
from pipeline.sink.rollups import refresh

LARGE_LINES = 1_000_000
OTHERS = 2_000
MONTHS = 3
PERIOD = "2026-10-01"
_INSERT = """
INSERT INTO usage.usage_lines
    (customer, seq, version, event_id, source, time, posted_at, period, late, builder, app, plan, plan_version, deployment,
     environment, workspace, feature, model, class, request_type, unit, kind, quantity, included, granted, overage, blocked,
     input_tokens, cached_input_tokens, output_tokens, cost_pico, cost_charged_pico, margin_pico, surcharge_pico, charge_pico,
     provider_reward_pico, builder_earnings_pico, pools, catalog, provider)
WITH
    {first:UInt64} + intDiv(number, {each:UInt64}) AS who,
    number % {each:UInt64} AS place,
    {start:DateTime64(6, 'UTC')} + toIntervalSecond(intDiv(place * {seconds:UInt64}, {each:UInt64})) AS at,
    cityHash64(number, who) AS chance,
    toInt128(chance % 1000000) * 1000000 AS spent,
    place % 3 = 0 AS paid
SELECT
    concat({name:String}, toString(who)), place + 1, place + 2, concat('e', toString(place)), 'dep', at, at,
    toStartOfMonth(at), false, 'northwind', 'docflow', 'team', 1, concat('dep-', toString(chance % 2)), 'production',
    concat('workspace-', toString(chance % 5)), concat('feature-', toString(chance % 3)),
    concat('model-', toString(intDiv(chance, 7) % 3)), 'standard', NULL, 'document', 'usage', 1, if(paid, 0, 1), 0,
    if(paid, 1, 0), 0, chance % 4000, 0, chance % 900, spent, if(paid, spent, 0), if(paid, intDiv(spent, 4), 0), 0,
    if(paid, spent + intDiv(spent, 4), 0), if(paid, spent, 0), if(paid, intDiv(spent, 4), 0),
    if(paid, [], [('included', '', 1)]), 'catalog', 'openai'
FROM numbers({count:UInt64})
"""


def fill(client: Client, lines: int) -> int:
    """Put lines into ClickHouse and return how many there are."""
    month = {"start": "2026-10-01 00:00:00.000000", "seconds": 31 * 86_400, "name": "large-"}
    client.command(_INSERT, parameters={**month, "first": 0, "each": LARGE_LINES, "count": LARGE_LINES})
    each = (lines - LARGE_LINES) // OTHERS
    quarter = {"start": "2026-08-01 00:00:00.000000", "seconds": 92 * 86_400, "name": "customer-", "each": each}
    step = max(1, 2_000_000 // each)
    for first in range(0, OTHERS, step):
        many = min(step, OTHERS - first)
        client.command(_INSERT, parameters={**quarter, "first": first, "count": many * each})
        progress(f"statements: {LARGE_LINES + (first + many) * each:,} lines")
    return LARGE_LINES + OTHERS * each


def timed(work: Callable[[], object], times: int) -> dict[str, Any]:
    """Return how long work takes, in milliseconds, the first time (connections, caches) apart."""
    work()
    found = []
    for _ in range(times):
        began_s = time.perf_counter()
        work()
        found.append((time.perf_counter() - began_s) * 1000)
    return spread(found, 1)


def read_all(client: Client, times: int) -> dict[str, dict[str, Any]]:
    """Return how long each kind of statement takes."""

    def reading(customer: str, dimension: str | None = None) -> Callable[[], object]:
        return lambda: read_statement(client, customer, "docflow", PERIOD, dimension)

    return {
        "a million lines": timed(reading("large-0"), times),
        "a million lines, by workspace": timed(reading("large-0", "workspace"), times),
        "another customer": timed(reading("customer-1234"), times),
        "another customer, by model": timed(reading("customer-77", "model"), times),
        "the list of a customer": timed(lambda: list_statements(client, "customer-500"), times),
        "a million lines, in SQL: statements_v1": timed(asking(client, _STATEMENT, "large-0"), times),
        "another customer, in SQL: statements_v1": timed(asking(client, _STATEMENT, "customer-1234"), times),
        "a million lines, in SQL: usage_daily_v1": timed(asking(client, _DAILY, "large-0"), times),
        "all customers, in SQL: margin_v1": timed(asking(client, _MARGIN), times),
    }


_OF_ONE = "WHERE customer = {customer:String} AND app = 'docflow'"
_STATEMENT = f"SELECT * FROM usage.statements_v1 {_OF_ONE} AND period = '{PERIOD}' ORDER BY feature, unit"
_DAILY = f"SELECT day, workspace, sum(lines), sum(charge) FROM usage.usage_daily_v1 {_OF_ONE} GROUP BY day, workspace"
_MARGIN = "SELECT month, sum(lines), sum(revenue), sum(cost_carried) FROM usage.margin_v1 GROUP BY month"


def asking(client: Client, sql: str, customer: str = "") -> Callable[[], object]:
    """Return what asks in SQL, as a BI tool does."""
    return lambda: client.query(sql, parameters={"customer": customer}).result_rows


async def measure(lines: int, times: int, folder: Path) -> dict[str, Any]:
    """Fill, roll up, read."""
    async with clickhouse_with_tables(folder / "clickhouse") as (_, address):
        with client_of(Settings(clickhouse=address)) as client:  # type: ignore[call-arg]
            count = await asyncio.to_thread(fill, client, lines)
            unrolled = timed(lambda: read_statement(client, "large-0", "docflow", PERIOD), 3)
            began_s = time.monotonic()
            customers = await asyncio.to_thread(refresh, client)
            rolled_up_s = time.monotonic() - began_s
            progress(f"statements: {customers:,} customers rolled up in {rolled_up_s:.0f} s")
            found = read_all(client, times)
            tail = {"name": "large-", "start": "2026-10-31 23:00:00.000000", "seconds": 3_600, "first": 0}
            client.command(_TAIL, parameters={**tail, "each": 10_000, "count": 10_000})
            found["a million lines, 10,000 not rolled up"] = timed(
                lambda: read_statement(client, "large-0", "docflow", PERIOD), times
            )
            parts = client.command("SELECT count() FROM system.parts WHERE table = 'usage_lines' AND active")
    return {
        "lines": count,
        "unrolled": unrolled,
        "rolled_up_s": round(rolled_up_s, 1),
        "parts": parts,
        "statements": found,
    }


_TAIL = _INSERT.replace("place + 1, place + 2,", f"{LARGE_LINES} + place + 1, {LARGE_LINES} + place + 2,")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.statements", description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000_000)
    parser.add_argument("--times", type=int, default=30, help="how often each statement is read")
    arguments = parser.parse_args()
    print(describe(), flush=True)
    with scratch_folder() as folder:
        found = asyncio.run(measure(arguments.lines, arguments.times, folder))
    keep("statements", found)
    rows = [(name, shown(each)) for name, each in found["statements"].items()]
    print(f"\n{found['lines']:,} lines in {found['parts']} parts; rolled up in {found['rolled_up_s']} s\n")
    print(table(("statement", "ms"), [*rows, ("a million lines, none rolled up", shown(found["unrolled"]))]))


if __name__ == "__main__":
    run_main(main)

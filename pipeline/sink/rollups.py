"""Keeps `usage.rollup_days` up to date: sums by customer and day, absolute, exact whatever was re-sent (decisions/0009).

A refresh takes a customer from `upto`, the line up to which it is rolled up, to its last line without a gap before it, and
writes the sums of every day that has got lines in between, over all of the day's lines. All rows of a refresh become visible at
once. So whoever reads the rows, and the lines behind the largest `upto` of the customer, has counted each line once.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.observe.counters import Counters
from pipeline.settings import Settings
from pipeline.settings.clients import clickhouse_arguments

log = logging.getLogger(__name__)

BATCH_CUSTOMERS_MAX = 200
BATCH_LINES_MAX = 50_000
"""New lines in one refresh; a customer with more is refreshed alone."""

_PENDING = """
SELECT heads.customer, done.upto, heads.seq
FROM (SELECT customer, max(seq) AS seq FROM usage.line_heads GROUP BY customer) AS heads
LEFT JOIN (SELECT customer, max(upto) AS upto FROM usage.rollup_days GROUP BY customer) AS done USING customer
WHERE heads.seq > done.upto
ORDER BY heads.customer
"""
_NEW = """
customer IN {customers:Array(String)}
AND seq > transform(customer, {customers:Array(String)}, {froms:Array(UInt64)}, 0)
AND seq > arrayMin({froms:Array(UInt64)})
"""
# The lines behind `from` up to the first gap: the n-th of them has the number from + n.
_REACHED = f"""
SELECT customer, max(seq) AS upto, min(toDate(posted_at)) AS first_day, max(toDate(posted_at)) AS last_day
FROM (
    SELECT customer, seq, posted_at, row_number() OVER (PARTITION BY customer ORDER BY seq) AS place
    FROM usage.usage_lines FINAL WHERE {_NEW}
)
WHERE seq = transform(customer, {{customers:Array(String)}}, {{froms:Array(UInt64)}}, 0) + place
GROUP BY customer
"""  # noqa: S608 - made of constants
_REFRESH = f"""
INSERT INTO usage.rollup_days
SELECT
    customer, period, app, toDate(posted_at) AS day, builder, plan, plan_version, deployment, environment, workspace, feature,
    model, class, provider, unit, kind, late,
    transform(customer, {{customers:Array(String)}}, {{uptos:Array(UInt64)}}, 0) AS upto,
    max(seq), count(), sum(toUInt128(usage_lines.quantity)), sum(toUInt128(usage_lines.included)),
    sum(toUInt128(usage_lines.granted)), sum(toUInt128(usage_lines.overage)), sum(toUInt128(usage_lines.blocked)),
    sum(toUInt128(usage_lines.input_tokens)), sum(toUInt128(usage_lines.cached_input_tokens)),
    sum(toUInt128(usage_lines.output_tokens)), sum(toInt256(usage_lines.cost_pico)),
    sum(toInt256(usage_lines.cost_charged_pico)), sum(toInt256(usage_lines.margin_pico)),
    sum(toInt256(usage_lines.surcharge_pico)), sum(toInt256(usage_lines.charge_pico)),
    sum(toInt256(usage_lines.provider_reward_pico)), sum(toInt256(usage_lines.builder_earnings_pico))
FROM usage.usage_lines FINAL
WHERE customer IN {{customers:Array(String)}}
    AND posted_at >= toDateTime64({{first_day:Date}}, 6, 'UTC') AND posted_at < toDateTime64({{last_day:Date}} + 1, 6, 'UTC')
    AND (customer, toDate(posted_at)) IN (
        SELECT DISTINCT customer, toDate(posted_at) FROM usage.usage_lines FINAL
        WHERE {_NEW} AND seq <= transform(customer, {{customers:Array(String)}}, {{uptos:Array(UInt64)}}, 0)
    )
    AND seq <= transform(customer, {{customers:Array(String)}}, {{uptos:Array(UInt64)}}, 0)
GROUP BY customer, period, app, day, builder, plan, plan_version, deployment, environment, workspace, feature, model, class,
    provider, unit, kind, late
"""  # noqa: S608 - made of constants
_ONE_PART = {
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 1_000_000_000,
    "min_insert_block_size_bytes": 0,
    "max_insert_block_size": 1_000_000_000,
    "insert_deduplicate": 0,
    "optimize_on_insert": 0,
    "async_insert": 0,
}
"""All rows of a refresh become one part: visible together or not at all."""


class Pending(NamedTuple):
    """A customer with lines that are not rolled up."""

    customer: str
    upto: int
    last: int


def refresh(client: Client) -> int:
    """Roll up what is not, and return of how many customers. May be run at any time, by several at once."""
    refreshed = 0
    for batch in _batches([Pending(*row) for row in client.query(_PENDING).result_rows]):
        refreshed += _refresh(client, batch)
    return refreshed


def _batches(pending: Sequence[Pending]) -> list[list[Pending]]:
    batches: list[list[Pending]] = []
    lines = BATCH_LINES_MAX
    for each in pending:
        new = each.last - each.upto
        if lines + new > BATCH_LINES_MAX or len(batches[-1]) >= BATCH_CUSTOMERS_MAX:
            batches.append([])
            lines = 0
        batches[-1].append(each)
        lines += new
    return batches


def _refresh(client: Client, batch: Sequence[Pending]) -> int:
    froms = {"customers": [each.customer for each in batch], "froms": [each.upto for each in batch]}
    reached = client.query(_REACHED, parameters=froms).result_rows
    if not reached:
        return 0
    started = {each.customer: each.upto for each in batch}
    customers = [row[0] for row in reached]
    parameters = {
        "customers": customers,
        "froms": [started[customer] for customer in customers],
        "uptos": [row[1] for row in reached],
        "first_day": min(row[2] for row in reached),
        "last_day": max(row[3] for row in reached),
    }
    client.command(_REFRESH, parameters=parameters, settings=_ONE_PART)
    return len(reached)


class RollupKeeper:
    """Refreshes now and then, in a thread of its own, until stopped."""

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self._settings = settings
        self._counters = counters
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop; a refresh under way ends by itself, and shows all or nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.sink_rollup_ms / 1000)
            try:
                await asyncio.to_thread(self._refresh)
                self._counters.level("sink_rollup_timestamp_seconds", time.time())
            except (ClickHouseError, OSError) as error:
                self._counters.add("sink_rollup_failures")
                log.warning("the rollup stays as it is for now: %s", " ".join(str(error).split())[:300])

    def _refresh(self) -> None:
        with closing(clickhouse_connect.get_client(**clickhouse_arguments(self._settings))) as client:
            refresh(client)

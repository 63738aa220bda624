"""Making payouts: the records of billing.payouts are the only truth about what was paid (R11.4).

A fixed transactional id shuts out whoever began earlier and has not finished. Only then the topic is read, to its end, so that
of two who make the same payout one sees the other's record, or cannot commit its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver.client import Client

from pipeline.billing.audit import sink_positions
from pipeline.billing.payouts import PayoutReport, read_payouts
from pipeline.cli.audit_log import Logs, open_logs
from pipeline.cli.payouts_log import read_payout_log
from pipeline.codec.payouts import encode_payout
from pipeline.domain.catalog import Catalog
from pipeline.domain.payouts import MadePayout, Payout, payout_as_made
from pipeline.domain.records import LINES_TOPIC, PAYOUTS_TOPIC
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments

TRANSACTIONAL_ID = "usage-payouts"
COMMIT_S_MAX = 30.0
_STOP_S_MAX = 2.0
_POLL_S = 0.2

Result = Literal["made", "would be made", "made already", "not made"]


class PayoutRefused(Exception):  # noqa: N818 - the word for it
    """No payout is made; the message says why, and from when on one can be."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one payout."""

    result: Result
    payout: Payout


async def make_payouts(
    settings: Settings,
    client: Client,
    catalog: Catalog,
    month: str,
    builder: str | None,
    *,
    wait_s: float,
    dry_run: bool,
) -> list[Outcome]:
    """Make the payouts for a month that are not made yet, all or none of them; with `dry_run`, say which these are.

    Raises PayoutRefused, LogError, KafkaError, ClickHouseError, and TimeoutError when it is not certain whether they are made.
    """
    async with open_logs(settings, (PAYOUTS_TOPIC, LINES_TOPIC)) as logs:
        if dry_run:
            return (await _looked_at(logs, client, catalog, month, builder, wait_s))[0]
        async with _only_maker(settings) as producer:
            outcomes, due = await _looked_at(logs, client, catalog, month, builder, wait_s)
            if due:
                await _write(producer, due)
    made = {each.id: each for each in due}
    return [
        Outcome("made", payout_as_made(catalog, made[each.payout.id], each.payout.earnings_pico))
        if each.payout.id in made
        else each
        for each in outcomes
    ]


@asynccontextmanager
async def _only_maker(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a producer; what an earlier one has not committed by now never will be."""
    producer = AIOKafkaProducer(
        **kafka_arguments(settings), transactional_id=TRANSACTIONAL_ID, acks="all", client_id=TRANSACTIONAL_ID
    )
    try:
        async with asyncio.timeout(COMMIT_S_MAX):
            await producer.start()
        yield producer
    finally:
        stopping = asyncio.ensure_future(producer.stop())
        if not (await asyncio.wait({stopping}, timeout=_STOP_S_MAX))[0]:
            stopping.cancel()


async def _looked_at(
    logs: Logs, client: Client, catalog: Catalog, month: str, builder: str | None, wait_s: float
) -> tuple[list[Outcome], list[MadePayout]]:
    """Return what is to be said of each payout, and the records that make those which are due. Raises PayoutRefused."""
    log = await read_payout_log(logs)
    if log.faults:
        raise PayoutRefused(
            f"{log.faults[0]}, so what was paid is not certain; nothing was made. Was it written by a newer version?"
        )
    await _wait_for_sink(logs, client, wait_s)
    now_us = time.time_ns() // 1000
    try:
        report = await asyncio.to_thread(
            read_payouts, client, catalog, month, builder, now_us=now_us, made=log.made.values()
        )
    except ValueError as fault:
        raise PayoutRefused(str(fault)) from None
    _refuse_early(catalog, report)
    outcomes, due = [], []
    for statement in report.statements:
        payout = statement.payout
        if payout.made_at is not None:
            outcomes.append(Outcome("made already", payout))
        elif payout.carried_into is not None:
            outcomes.append(Outcome("not made", payout))
        else:
            outcomes.append(Outcome("would be made", payout))
            due.append(payout.made(now_us))
    return outcomes, due


def _refuse_early(catalog: Catalog, report: PayoutReport) -> None:
    """Raise PayoutRefused while the month goes on or its payouts are held (R11.3)."""
    early = next((each.payout for each in report.statements if each.payout.state in ("open", "held")), None)
    if early is not None:
        over = "is not over" if early.state == "open" else "is over, but its payouts are held"
        raise PayoutRefused(
            f"month {early.month} {over}: they can be made from {early.payable_from} on, {catalog.payouts.hold_days} days "
            "after its end (payouts.hold_days in the catalog); nothing was made"
        )


async def _wait_for_sink(logs: Logs, client: Client, wait_s: float) -> None:
    """Wait until ClickHouse has what usage.lines has now. Raises PayoutRefused when the sink is not there in time."""
    ends = {place.partition: end for place, end in (await logs.ends(LINES_TOPIC)).items()}
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        there = await asyncio.to_thread(sink_positions, client)
        behind = {number: there.get(number, 0) for number, end in ends.items() if there.get(number, 0) < end}
        if not behind:
            return
        if asyncio.get_running_loop().time() > deadline:
            named = ", ".join(
                f"{LINES_TOPIC}/{number} at {at} of {ends[number]}" for number, at in sorted(behind.items())
            )
            raise PayoutRefused(
                f"ClickHouse does not have all lines yet, so earnings are not certain: {named}. Is `usage sink` running? "
                "Nothing was made"
            )
        await asyncio.sleep(_POLL_S)


async def _write(producer: AIOKafkaProducer, payouts: list[MadePayout]) -> None:
    """Write payouts, all or none. Raises KafkaError, such as ProducerFenced, and TimeoutError."""
    async with asyncio.timeout(COMMIT_S_MAX), producer.transaction():
        for payout in payouts:
            await producer.send_and_wait(PAYOUTS_TOPIC, encode_payout(payout), key=payout.id.encode())

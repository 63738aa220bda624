"""Payouts as an audit reads them: those of billing.payouts beside those of ClickHouse."""

import asyncio
import time

from clickhouse_connect.driver.client import Client

from pipeline.billing.audit import Check, Finding, Scratch, check_books
from pipeline.billing.payouts import read_made
from pipeline.cli.audit_log import Logs
from pipeline.cli.payouts_log import PayoutLog, read_payout_log
from pipeline.domain.payouts import MadePayout

_POLL_S = 0.2


async def check_payouts(logs: Logs, scratch: Scratch, wait_s: float) -> Check:
    """Check the books; with one customer in scope, without payouts.

    The topic is read before ClickHouse and once more after it: payouts may be made meanwhile.
    """
    whole = scratch.scope.customer is None
    before = await read_payout_log(logs) if whole else PayoutLog()
    stored = await asyncio.to_thread(_stored, scratch.client, before, wait_s) if whole else []
    after = await read_payout_log(logs) if whole else before
    check = await asyncio.to_thread(check_books, scratch, after.made, stored)
    lost = sorted(before.made.keys() - {each.id for each in stored})
    for what in (*after.faults, *(f"payout {identity}: is not in usage.payouts" for identity in lost)):
        check.add(Finding("", None, what), scratch.scope.findings_max)
    return check


def _stored(client: Client, log: PayoutLog, wait_s: float) -> list[MadePayout]:
    """Return the payouts in ClickHouse, as soon as those of the log are there, or when that takes too long."""
    deadline = time.monotonic() + wait_s
    while True:
        stored = read_made(client)
        if log.made.keys() <= {each.id for each in stored} or time.monotonic() > deadline:
            return stored
        time.sleep(_POLL_S)

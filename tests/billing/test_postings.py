"""Tests of the view of postings against the functions that define them."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.domain.ledger import Entry, postings_of_line, postings_of_payout
from pipeline.domain.payouts import MadePayout
from tests.billing.payout_support import earning, store_payouts
from tests.sink.support import insert, priced

PICO = Decimal(10) ** 12
PAYOUT = MadePayout(
    id="po_2026-09_northwind",
    builder="northwind",
    month="2026-09",
    made_at="2026-10-15T00:00:00.000000Z",
    currency="USD",
    earnings_pico=10**24,
    fee_percent_pico=5 * 10**12,
    fee_pico=5 * 10**22,
    fee_booked_pico=5 * 10**22 - 1,
    carried_in_pico=-7,
    paid_pico=95 * 10**22,
    carried_out_pico=-7,
)


@pytest.mark.rule("R11.6")
def test_the_view_has_the_entries_that_the_functions_give(store: Client) -> None:
    """Lines that gain, lose and cost nothing, amounts beyond 64 bits, and a payout: entry by entry, and each sums to zero."""
    store.command("TRUNCATE TABLE usage.payouts")
    lines: list[dict[str, Any]] = [
        earning("acme", 1, 10**24) | {"provider": "openai"},
        earning("acme", 2, -3) | {"provider": ""},
        earning("bolt", 1, 0) | {"provider": "groq", **priced(0, 0)},
    ]
    insert(store, lines)
    store_payouts(store, [PAYOUT, PAYOUT])  # sent twice
    wanted: dict[str, list[Entry]] = {
        f"line/{line['customer']}/{line['seq']}": sorted(postings_of_line(cast(Any, SimpleNamespace(**line))))
        for line in lines
    }
    wanted[f"payout/{PAYOUT.id}"] = sorted(postings_of_payout(PAYOUT))

    found: dict[str, list[Entry]] = {}
    for posting, kind, account, amount in store.query(
        "SELECT posting, kind, account, amount FROM usage.postings_v1 ORDER BY posting, kind"
    ).result_rows:
        found.setdefault(posting, []).append(Entry(kind, account, int(amount * PICO)))
    store.command("TRUNCATE TABLE usage.payouts")

    assert {posting: sorted(entries) for posting, entries in found.items()} == wanted
    assert all(sum(entry.amount_pico for entry in entries) == 0 for entries in found.values())

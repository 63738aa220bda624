"""Tests of double entry: every posting sums to zero, and so do all accounts together."""

import pytest

from pipeline.domain.catalog import PriceRow, Surcharge
from pipeline.domain.ledger import balances_of, postings_of_line, postings_of_payout
from pipeline.domain.payouts import payout_of
from tests.domain.world import CENT, DOLLAR, World, at


@pytest.mark.rule("R11.6", "R6.9")
def test_what_customers_owe_is_owed_to_providers_and_builders() -> None:
    """Each line's posting sums to zero; the builder's part is paid and kept as fee, and nothing is left over."""
    world = World(
        prices=(PriceRow(margin_percent_pico=25 * DOLLAR),),
        surcharges=(Surcharge("extra", per_unit_pico=3 * CENT + 1),),
    )
    lines = [world.line(quantity=quantity) for quantity in (1, 7, 0)]
    earned = sum(line.builder_earnings_pico for line in lines)
    payout = payout_of(world.catalog, "northwind", "2026-11", {"2026-11": earned}, (), at("2027-01-01T00:00:00Z")).made(
        0
    )
    postings = [*map(postings_of_line, lines), postings_of_payout(payout)]

    balances = balances_of(entry for posting in postings for entry in posting)

    assert [sum(entry.amount_pico for entry in posting) for posting in postings] == [0] * len(postings)
    assert balances == {
        ("customer", "acme"): sum(line.charge_pico for line in lines),
        ("provider", "p"): -sum(line.provider_reward_pico for line in lines),
        ("builder", "northwind"): -payout.carried_out_pico,
        ("platform_fee", ""): -payout.fee_pico,
        ("paid_out", ""): -payout.paid_pico,
    }
    assert sum(balances.values()) == 0
    assert payout.paid_pico > 0

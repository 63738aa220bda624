"""Tests of the audit's books: accounts that balance, payouts that add up and are those of billing.payouts."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline.billing.payouts import read_payouts
from pipeline.catalog import load_catalog
from pipeline.codec.payouts import encode_payout
from pipeline.domain.instants import day_start_us
from pipeline.domain.payouts import MadePayout
from pipeline.domain.records import PAYOUTS_TOPIC
from tests.billing.audit_support import Audited
from tests.billing.payout_support import store_payouts

BROKEN = (
    "R11.1: earnings - fee + carried in = paid + carried out; R11.1: whole cents are paid, and never less than none"
)
pytest_plugins = ["tests.billing.audit_fixtures"]
YEARS_LATER_US = day_start_us("2030-01-01")


@pytest.fixture
def with_payouts(fed_alone: Audited) -> Iterator[tuple[Audited, list[MadePayout]]]:
    """Give a sound journal, and the payouts of its month on Kafka and in ClickHouse."""
    month = fed_alone.period()[:7]
    report = read_payouts(fed_alone.client, load_catalog(fed_alone.catalog), month, now_us=YEARS_LATER_US)
    payouts = [each.payout.made(YEARS_LATER_US) for each in report.statements]
    for payout in payouts:
        fed_alone.send(PAYOUTS_TOPIC, encode_payout(payout), key=payout.id.encode())
    fed_alone.client.command("TRUNCATE TABLE usage.payouts")
    store_payouts(fed_alone.client, payouts)
    yield fed_alone, payouts
    fed_alone.client.command("TRUNCATE TABLE usage.payouts")


@pytest.mark.rule("R11.6", "R11.1")
def test_what_a_hand_does_to_payouts_is_found(with_payouts: tuple[Audited, list[MadePayout]]) -> None:
    """Sound payouts are clean; one that was raised, one that is gone and one that nobody made are damage."""
    audited, payouts = with_payouts
    raised, gone = payouts[:2]
    forged = replace(raised, id="po_2020-01_nobody", builder="nobody", month="2020-01")

    audited.audit(code=0)
    store_payouts(audited.client, [forged])
    audited.client.command(
        f"ALTER TABLE usage.payouts UPDATE paid_pico = paid_pico + 1 WHERE id = '{raised.id}'",
        settings={"mutations_sync": 1},
    )
    audited.client.command(f"DELETE FROM usage.payouts WHERE id = '{gone.id}'")
    found = audited.checks("--wait", "0")

    assert set(found) == {"books"}
    assert sorted(finding["what"] for finding in found["books"]["findings"]) == sorted(
        [
            f"payout {forged.id}: is not in billing.payouts",
            f"payout {gone.id}: is not in usage.payouts",
            f"payout {raised.id}: {BROKEN}",
            f"payout {raised.id}: is not what billing.payouts has",
        ]
    )


@pytest.mark.rule("R11.2", "R11.6")
def test_earnings_after_a_payout_are_a_note(with_payouts: tuple[Audited, list[MadePayout]]) -> None:
    """What a line earns more than when its payout was made is in the next one; that its posting is out of balance is damage."""
    audited, payouts = with_payouts
    first = payouts[0]
    line = next(each for each in audited.of_period() if each["builder"] == first.builder)

    audited.update(line, "charge_pico = charge_pico + 1, builder_earnings_pico = builder_earnings_pico + 2")
    found = audited.checks()

    (note,) = found["books"]["notes"]
    assert note.startswith(
        f"{first.builder}: 0.000000000002 USD was posted into {first.month} or before since {first.id}"
    )
    (finding,) = found["books"]["findings"]
    assert (finding["customer"], int(finding["expected"]) - int(finding["found"])) == (line["customer"], 1)

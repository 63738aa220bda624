"""Tests of payouts: what a builder is paid for a month, over many months."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.payouts import decode_payout, encode_payout
from pipeline.domain.catalog import Catalog, PayoutTerms
from pipeline.domain.instants import day_start_us
from pipeline.domain.ledger import Entry, balances_of, postings_of_payout
from pipeline.domain.money import PICO
from pipeline.domain.months import month_of
from pipeline.domain.payouts import MadePayout, fee_of, payout_of

CENT = PICO // 100
FIVE_PERCENT = 5 * PICO
NOW_US = day_start_us("2026-11-24")
MONTHS = [f"2026-{number:02d}" for number in range(1, 9)]

amounts = st.integers(-300 * CENT, 300 * CENT)
steps = st.lists(
    st.tuples(
        st.sampled_from(["post", "pay"]),
        st.sampled_from(MONTHS),
        amounts,
        st.integers(0, 20),
        st.sampled_from([0, 1, 2 * PICO]),
    ),
    max_size=30,
)
"""Usage is posted into a month, or a month is paid, under a fee in percent and a minimum."""


def a_catalog(percent_pico: int = FIVE_PERCENT, hold_days: int = 14, minimum_pico: int = 0) -> Catalog:
    """Return a catalog with nothing but its terms of payment."""
    terms = PayoutTerms(hold_days, minimum_pico)
    return Catalog("USD", percent_pico, {}, {}, {}, {}, {}, {}, {}, payouts=terms)


def paid(earnings: dict[str, int], month: str, *made: MadePayout, catalog: Catalog | None = None) -> MadePayout:
    """Return the record of a payout that is made now."""
    return payout_of(catalog or a_catalog(), "northwind", month, earnings, made, NOW_US).made(NOW_US)


@pytest.mark.rule("R8.2", "R11.1", "R11.4")
def test_a_month_is_paid_less_the_fee() -> None:
    """Earnings of 100.00 with a fee of 5 % are paid as 95.00, under an id made of month and builder."""
    payout = payout_of(a_catalog(), "northwind", "2026-10", {"2026-10": 100 * PICO}, (), NOW_US)

    assert (payout.id, payout.state, payout.currency) == ("po_2026-10_northwind", "payable", "USD")
    assert (payout.fee_pico, payout.payable_pico, payout.carried_out_pico) == (5 * PICO, 95 * PICO, 0)


@pytest.mark.rule("R8.2", "R11.1")
def test_a_negative_month_has_no_fee_and_is_carried() -> None:
    """Nothing is paid for a month below zero; the next one is paid less by all of it."""
    earnings = {"2026-09": -10 * PICO, "2026-10": 100 * PICO}

    september = paid(earnings, "2026-09")
    october = paid(earnings, "2026-10", september)

    assert (september.fee_pico, september.paid_pico, september.carried_out_pico) == (0, 0, -10 * PICO)
    assert (october.carried_in_pico, october.paid_pico, october.carried_out_pico) == (-10 * PICO, 85 * PICO, 0)


@pytest.mark.rule("R11.1", "R5.4")
@pytest.mark.parametrize(
    ("earned", "cents"), [(CENT // 2, 0), (CENT // 2 + 1, 1), (3 * CENT // 2, 2), (5 * CENT // 2, 2)]
)
def test_what_is_paid_is_rounded_and_the_rest_is_carried(earned: int, cents: int) -> None:
    """Half a cent goes to the even cent; the difference, above or below zero, is in the next payout."""
    payout = paid({"2026-10": earned}, "2026-10", catalog=a_catalog(0))

    assert payout.paid_pico == cents * CENT
    assert payout.carried_out_pico == earned - cents * CENT


@pytest.mark.rule("R11.2")
def test_a_correction_after_the_payout_is_in_the_next_one_with_its_fee() -> None:
    """10.00 posted into September after it was paid raise October's payout by 9.50; September's own stays as it was."""
    september = paid({"2026-09": 100 * PICO}, "2026-09")
    known_later = {"2026-09": 110 * PICO, "2026-10": 20 * PICO}

    shown = payout_of(a_catalog(), "northwind", "2026-09", known_later, [september], NOW_US)
    october = paid(known_later, "2026-10", september)

    assert (shown.state, shown.paid_pico, shown.posted_since_pico) == ("paid", 95 * PICO, 10 * PICO)
    assert (october.earnings_pico, october.fee_pico) == (20 * PICO, PICO)
    assert (october.carried_in_pico, october.paid_pico) == (950 * CENT, 2850 * CENT)
    assert october.fee_booked_pico == 150 * CENT


@pytest.mark.rule("R11.2")
def test_the_fee_of_a_settled_month_does_not_follow_the_catalog() -> None:
    """A fee of 50 % from now on changes nothing of what was paid at 5 %, not even the fee of a correction to it."""
    september = paid({"2026-09": 100 * PICO}, "2026-09")

    october = paid({"2026-09": 110 * PICO}, "2026-10", september, catalog=a_catalog(50 * PICO))

    assert october.carried_in_pico == 950 * CENT
    assert october.fee_percent_pico == 50 * PICO


@pytest.mark.rule("R11.3")
@pytest.mark.parametrize(
    ("day", "state"),
    [("2026-10-31", "open"), ("2026-11-01", "held"), ("2026-11-14", "held"), ("2026-11-15", "payable")],
)
def test_a_payout_is_held_after_the_month(day: str, state: str) -> None:
    """October can be paid from the fifteenth of November on, when it is held for 14 days."""
    payout = payout_of(a_catalog(), "northwind", "2026-10", {"2026-10": PICO}, (), day_start_us(day))

    assert (payout.state, payout.payable_from) == (state, "2026-11-15")


@pytest.mark.rule("R11.3")
@pytest.mark.parametrize(("earned", "pays"), [(2499 * CENT, False), (2500 * CENT - 1, True), (25 * PICO, True)])
def test_less_than_the_minimum_is_carried(earned: int, pays: bool) -> None:
    """The minimum is compared with the rounded amount; what is carried is paid with the next month."""
    catalog = a_catalog(0, minimum_pico=25 * PICO)

    first = paid({"2026-09": earned}, "2026-09", catalog=catalog)
    second = paid({"2026-09": earned, "2026-10": 30 * PICO}, "2026-10", first, catalog=catalog)

    assert (first.paid_pico > 0) is pays
    assert first.paid_pico + second.paid_pico + second.carried_out_pico == earned + 30 * PICO


@pytest.mark.rule("R11.5")
def test_a_month_without_a_payout_of_its_own_is_in_the_next_one() -> None:
    """August, never paid, is in September's payout; making August afterwards pays nothing."""
    earnings = {"2026-08": 10 * PICO, "2026-09": 20 * PICO}
    september = paid(earnings, "2026-09")

    august = payout_of(a_catalog(), "northwind", "2026-08", earnings, [september], NOW_US)

    assert september.paid_pico == 2850 * CENT
    assert (august.state, august.carried_into, august.payable_pico) == ("carried", "po_2026-09_northwind", 0)


@pytest.mark.rule("R11.4")
def test_another_currency_is_refused() -> None:
    """Payouts in USD and earnings in EUR have no sum."""
    september = paid({"2026-09": PICO}, "2026-09")

    with pytest.raises(ValueError, match=r"po_2026-09_northwind was made in USD, the catalog's currency is EUR"):
        payout_of(replace(a_catalog(), currency="EUR"), "northwind", "2026-10", {}, [september], NOW_US)


@pytest.mark.rule("R8.2", "R11.1", "R11.2", "R11.5", "R11.6")
@given(steps=steps)
def test_over_time_exactly_what_was_earned_is_paid(steps: list[tuple[str, str, int, int, int]]) -> None:
    """Whatever comes late and however often fee and minimum change: paid + carried = sum of nets, fees booked = sum of fees."""
    earned: Counter[str] = Counter()
    made: list[MadePayout] = []
    percents: dict[str, int] = {}

    for verb, month, pico, percent, minimum_pico in steps:
        if verb == "post":
            earned[month] += pico
            continue
        payout = payout_of(
            a_catalog(percent * PICO, minimum_pico=minimum_pico), "northwind", month, earned, made, NOW_US
        )
        if payout.made_at is not None or payout.carried_into is not None:
            continue
        made.append(payout.made(NOW_US))
        percents |= {name: percent * PICO for name in MONTHS if name <= month and name not in percents}
        known = {name: earned[name] for name in MONTHS if name <= month}
        fees = sum(fee_of(percents[name], each) for name, each in known.items())
        last = made[-1]

        assert sum(each.paid_pico for each in made) + last.carried_out_pico == sum(known.values()) - fees
        assert sum(each.fee_booked_pico for each in made) == fees
        assert last.earnings_pico - last.fee_pico + last.carried_in_pico == last.paid_pico + last.carried_out_pico
        assert last.paid_pico >= 0
        assert last.paid_pico % CENT == 0
        postings = [Entry("builder", "northwind", -each) for each in known.values()]
        for each in made:
            assert sum(entry.amount_pico for entry in postings_of_payout(each)) == 0
            postings += postings_of_payout(each)
        assert balances_of(postings)["builder", "northwind"] == -last.carried_out_pico


@pytest.mark.rule("R11.4")
@given(pico=st.integers(-(10**30), 10**30))
def test_a_record_reads_as_it_was_written(pico: int) -> None:
    """Amounts beyond 64 bits too."""
    record = paid({"2026-09": pico}, "2026-09")

    assert decode_payout(encode_payout(record)) == record


@pytest.mark.rule("R11.4")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"paid_pico": 9', b'"paid_pico": 1.9'),
        (b'"paid_pico"', b'"pai_pico"'),
        (b'"northwind"', b'"brightwater"'),
        (b'"2026-09-01"', b'"2026-09-02"'),
        (b"{", b""),
        (b'"USD"', b"null"),
    ],
)
def test_what_is_no_payout_is_refused(old: bytes, new: bytes) -> None:
    """A float, a missing field, another builder than the id says, a day that is no month: none of it counts as paid."""
    value = encode_payout(paid({"2026-09": 100 * PICO}, "2026-09"))
    assert old in value

    with pytest.raises(ValueError, match=r"."):
        decode_payout(value.replace(old, new, 1))


@pytest.mark.parametrize(
    "text", ["2026-13", "2026-1", "2026-11-01", "202611", "", "0000-01", "\uff12\uff10\uff12\uff16-11"]
)
def test_what_is_no_month_is_refused(text: str) -> None:
    """A month is written as in 2026-11."""
    with pytest.raises(ValueError, match="is no month"):
        month_of(text)

"""Double entry: who owes whom, as postings that each sum to zero (R11.6).

An amount above zero is owed to the platform, or was paid for it; one below zero is what the platform owes, has kept or has
paid out. A posting is made of its entries.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal, NamedTuple

from pipeline.domain.lines import Line
from pipeline.domain.payouts import MadePayout

AccountKind = Literal["customer", "provider", "builder", "platform_fee", "paid_out"]


class Entry(NamedTuple):
    """What a posting changes in one account; `owner` is empty for those of the platform itself."""

    account: AccountKind
    owner: str
    amount_pico: int


def postings_of_line(line: Line) -> tuple[Entry, ...]:
    """Return the posting of a line: the customer owes its charge, which is owed to provider and builder (R6.9)."""
    return (
        Entry("customer", line.customer, line.charge_pico),
        Entry("provider", line.provider, -line.provider_reward_pico),
        Entry("builder", line.builder, -line.builder_earnings_pico),
    )


def postings_of_payout(payout: MadePayout) -> tuple[Entry, ...]:
    """Return the posting of a payout: of what was owed to the builder, the fee is kept and the rest paid out."""
    return (
        Entry("builder", payout.builder, payout.fee_booked_pico + payout.paid_pico),
        Entry("platform_fee", "", -payout.fee_booked_pico),
        Entry("paid_out", "", -payout.paid_pico),
    )


def balances_of(entries: Iterable[Entry]) -> dict[tuple[AccountKind, str], int]:
    """Return the balance of every account, in picodollars."""
    balances: defaultdict[tuple[AccountKind, str], int] = defaultdict(int)
    for entry in entries:
        balances[entry.account, entry.owner] += entry.amount_pico
    return dict(balances)

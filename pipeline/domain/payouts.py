"""What a builder is paid for a calendar month (R8.2)."""

from dataclasses import dataclass

from pipeline.domain.money import round_to_cents
from pipeline.domain.prices.cost_plus import percent_of


@dataclass(frozen=True, slots=True)
class Payout:
    """A builder's earnings of a month and the platform's fee, in picodollars; the payout is in cents (R5.4)."""

    builder: str
    month: str
    """Such as "2026-11"."""
    earnings_pico: int
    fee_pico: int

    @property
    def payout_cents(self) -> int:
        """Return what is paid; negative when the builder owes."""
        return round_to_cents(self.earnings_pico - self.fee_pico)


def payout_of(builder: str, month: str, earnings_pico: int, platform_fee_percent_pico: int) -> Payout:
    """Return a builder's payout: the fee is taken of a positive sum only (R8.2)."""
    return Payout(builder, month, earnings_pico, percent_of(platform_fee_percent_pico, max(0, earnings_pico)))

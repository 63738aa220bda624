"""What a builder is paid for a calendar month (R8.2, R11)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.domain.catalog import Catalog
from pipeline.domain.instants import DAY_US, format_instant
from pipeline.domain.money import PICO, format_cents, round_to_cents
from pipeline.domain.months import month_of
from pipeline.domain.prices.cost_plus import percent_of
from pipeline.domain.statements import format_exact

_CENT_PICO = PICO // 100
State = Literal["open", "held", "payable", "carried", "paid"]
"""open: the month is not over. held: over, but not for `hold_days`. payable: can be made. carried: nothing is paid, the amount
goes into a later payout. paid: made."""


@dataclass(frozen=True, slots=True)
class MadePayout:
    """A payout as it was made, for ever; a record of billing.payouts (R11.4). Amounts are picodollars.

    earnings - fee + carried in = paid + carried out.
    """

    id: str
    builder: str
    month: str
    """Such as "2026-11"."""
    made_at: str
    """RFC 3339 in UTC."""
    currency: str
    earnings_pico: int
    fee_percent_pico: int
    """In 10^-12 percent; of this month and of the earlier ones that had no payout of their own (R11.2)."""
    fee_pico: int
    """Of the month."""
    fee_booked_pico: int
    """What the platform keeps with this payout: the month's fee, and what the fees of earlier months have changed by."""
    carried_in_pico: int
    paid_pico: int
    """Whole cents; 0 when all of it is carried on."""
    carried_out_pico: int


@dataclass(frozen=True, slots=True)
class PayoutPart:
    """The earnings of a builder's month with one customer of one app, as known now."""

    app: str
    customer: str
    lines: int
    earnings_pico: int

    def as_dict(self) -> dict[str, Any]:
        """Return the part as JSON."""
        return {
            "app": self.app,
            "customer": self.customer,
            "lines": self.lines,
            "earnings_pico": self.earnings_pico,
            "earnings": format_exact(self.earnings_pico),
        }


@dataclass(frozen=True, slots=True)
class Payout:
    """The payout of a builder for a month: as it was made, or as it would be now. Amounts are picodollars.

    earnings - fee + carried in = payable + paid + carried out.
    """

    id: str
    builder: str
    month: str
    currency: str
    state: State
    payable_from: str
    """The day from which on it can be made (R11.3)."""
    earnings_pico: int
    fee_percent_pico: int
    fee_pico: int
    fee_booked_pico: int
    carried_in_pico: int
    payable_pico: int
    """Whole cents; 0 once it is made, and when it is carried."""
    paid_pico: int = 0
    made_at: str | None = None
    carried_into: str | None = None
    """The later payout that had this month in it, when the month has none of its own."""
    posted_since_pico: int = 0
    """Earnings posted into the month after its payout was made: they are in the next one (R11.2)."""

    @property
    def net_pico(self) -> int:
        """Return what the month alone is worth: its earnings less its fee (R8.2)."""
        return self.earnings_pico - self.fee_pico

    @property
    def carried_out_pico(self) -> int:
        """Return what goes into the next payout."""
        return self.net_pico + self.carried_in_pico - self.payable_pico - self.paid_pico

    def as_dict(self) -> dict[str, Any]:
        """Return the payout as JSON: exact amounts as decimal strings and as integers, paid amounts in cents."""
        exact = {
            "earnings": self.earnings_pico,
            "fee": self.fee_pico,
            "carried_in": self.carried_in_pico,
            "carried_out": self.carried_out_pico,
            "posted_since": self.posted_since_pico,
        }
        fields: dict[str, Any] = {
            "id": self.id,
            "builder": self.builder,
            "month": self.month,
            "currency": self.currency,
            "state": self.state,
            "payable_from": self.payable_from,
            "made_at": self.made_at,
            "carried_into": self.carried_into,
            "fee_percent": format_exact(self.fee_percent_pico).rstrip("0").rstrip("."),
            "payable": format_cents(round_to_cents(self.payable_pico)),
            "paid": format_cents(round_to_cents(self.paid_pico)),
        }
        for name, pico in exact.items():
            fields |= {name: format_exact(pico), f"{name}_pico": pico}
        return fields

    def made(self, now_us: int) -> MadePayout:
        """Return the record of this payout, made now: what is payable is paid."""
        return MadePayout(
            id=self.id,
            builder=self.builder,
            month=self.month,
            made_at=format_instant(now_us),
            currency=self.currency,
            earnings_pico=self.earnings_pico,
            fee_percent_pico=self.fee_percent_pico,
            fee_pico=self.fee_pico,
            fee_booked_pico=self.fee_booked_pico,
            carried_in_pico=self.carried_in_pico,
            paid_pico=self.payable_pico,
            carried_out_pico=self.carried_out_pico,
        )


def payout_id(builder: str, month: str) -> str:
    """Return the id of the one payout of a builder for a month (R11.4)."""
    return f"po_{month}_{builder}"


def payout_of(
    catalog: Catalog,
    builder: str,
    month: str,
    earnings_pico: Mapping[str, int],
    made: Sequence[MadePayout],
    now_us: int,
) -> Payout:
    """Return a builder's payout for a month (R11.1 to R11.5).

    `earnings_pico` has the sum of every month with lines, `made` the builder's payouts so far.
    Raises ValueError when they were made in another currency than the catalog's.
    """
    foreign = next((each for each in made if each.currency != catalog.currency), None)
    if foreign is not None:
        raise ValueError(f"{foreign.id} was made in {foreign.currency}, the catalog's currency is {catalog.currency}")
    own = next((each for each in made if each.month == month), None)
    if own is not None:
        return payout_as_made(catalog, own, earnings_pico.get(month, 0))
    later = min((each for each in made if each.month > month), key=lambda each: each.month, default=None)
    return _as_due(catalog, builder, month, earnings_pico, made, later, now_us)


def fee_of(percent_pico: int, earnings_pico: int) -> int:
    """Return the platform's fee of a month's earnings: a percentage, given in 10^-12 percent, of a positive sum (R11.1)."""
    return percent_of(percent_pico, max(0, earnings_pico))


def payable_from_us(catalog: Catalog, month: str) -> int:
    """Return the instant from which on payouts for a month can be made (R11.3)."""
    return month_of(month).end_us + catalog.payouts.hold_days * DAY_US


def payout_as_made(catalog: Catalog, own: MadePayout, earnings_now_pico: int) -> Payout:
    """Return a payout that was made, beside what the month's earnings are now."""
    return Payout(
        id=own.id,
        builder=own.builder,
        month=own.month,
        currency=own.currency,
        state="paid" if own.paid_pico else "carried",
        payable_from=format_instant(payable_from_us(catalog, own.month))[:10],
        earnings_pico=own.earnings_pico,
        fee_percent_pico=own.fee_percent_pico,
        fee_pico=own.fee_pico,
        fee_booked_pico=own.fee_booked_pico,
        carried_in_pico=own.carried_in_pico,
        payable_pico=0,
        paid_pico=own.paid_pico,
        made_at=own.made_at,
        posted_since_pico=earnings_now_pico - own.earnings_pico,
    )


def _as_due(
    catalog: Catalog,
    builder: str,
    month: str,
    earnings_pico: Mapping[str, int],
    made: Sequence[MadePayout],
    later: MadePayout | None,
    now_us: int,
) -> Payout:
    """Return the payout of a month that has none yet."""
    percent_pico = later.fee_percent_pico if later else catalog.platform_fee_percent_pico
    earned_pico = earnings_pico.get(month, 0)
    fee_pico = fee_of(percent_pico, earned_pico)
    before = [each for each in made if each.month < month]
    fees_before_pico = _fees_before(catalog, month, earnings_pico, made)
    earned_before_pico = sum(pico for name, pico in earnings_pico.items() if name < month)
    carried_in_pico = earned_before_pico - fees_before_pico - sum(each.paid_pico for each in before)
    due_cents = round_to_cents(earned_pico - fee_pico + carried_in_pico)
    due_from_us = payable_from_us(catalog, month)
    pays = later is None and due_cents > 0 and due_cents * _CENT_PICO >= catalog.payouts.minimum_pico
    return Payout(
        id=payout_id(builder, month),
        builder=builder,
        month=month,
        currency=catalog.currency,
        state="carried" if later else _state(month, due_from_us, now_us, pays=pays),
        payable_from=format_instant(due_from_us)[:10],
        earnings_pico=earned_pico,
        fee_percent_pico=percent_pico,
        fee_pico=fee_pico,
        fee_booked_pico=fees_before_pico + fee_pico - sum(each.fee_booked_pico for each in before),
        carried_in_pico=carried_in_pico,
        payable_pico=due_cents * _CENT_PICO if pays else 0,
        carried_into=later.id if later else None,
    )


def _state(month: str, due_from_us: int, now_us: int, *, pays: bool) -> State:
    if now_us < month_of(month).end_us:
        return "open"
    if now_us < due_from_us:
        return "held"
    return "payable" if pays else "carried"


def _fees_before(catalog: Catalog, month: str, earnings_pico: Mapping[str, int], made: Sequence[MadePayout]) -> int:
    """Return the fees of all earlier months as known now, each at the percentage with which it was settled (R11.2)."""
    settled = sorted((each.month, each.fee_percent_pico) for each in made)
    fees_pico = 0
    for name, pico in earnings_pico.items():
        if name < month:
            percents = (percent_pico for until, percent_pico in settled if until >= name)
            fees_pico += fee_of(next(percents, catalog.platform_fee_percent_pico), pico)
    return fees_pico

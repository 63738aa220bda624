"""Builders' payouts, read from ClickHouse (R8.2, R11)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.billing.sums import read_sums
from pipeline.domain.catalog import Catalog
from pipeline.domain.instants import DAY_US, day_of
from pipeline.domain.months import month_of
from pipeline.domain.payouts import MadePayout, Payout, PayoutPart, fee_of, payout_of

_MADE = """
SELECT id, builder, formatDateTime(month, '%Y-%m'), formatDateTime(made_at, '%Y-%m-%dT%H:%i:%S.%fZ'), currency,
    earnings_pico, fee_percent_pico, fee_pico, fee_booked_pico, carried_in_pico, paid_pico, carried_out_pico
FROM usage.payouts FINAL
WHERE {builder:String} = '' OR builder = {builder:String}
ORDER BY builder, month
"""
Earnings = Mapping[str, Mapping[str, int]]
"""Builder to month to picodollars."""


@dataclass(frozen=True, slots=True)
class PayoutStatement:
    """A builder's payout for a month, with the apps and customers it comes from.

    The parts are as known now: they sum to the earnings and what was posted since the payout was made.
    """

    payout: Payout
    builder_name: str
    parts: tuple[PayoutPart, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the statement as JSON."""
        return {
            **self.payout.as_dict(),
            "builder_name": self.builder_name,
            "parts": [part.as_dict() for part in self.parts],
        }


@dataclass(frozen=True, slots=True)
class PayoutReport:
    """The payouts of a month, by builder."""

    month: str
    currency: str
    statements: tuple[PayoutStatement, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "month": self.month,
            "currency": self.currency,
            "payouts": [statement.as_dict() for statement in self.statements],
        }


def read_payouts(
    client: Client,
    catalog: Catalog,
    month: str,
    builder: str | None = None,
    *,
    now_us: int,
    made: Iterable[MadePayout] | None = None,
) -> PayoutReport:
    """Return the payouts for a month of every builder who has earnings or something carried in, or of one.

    `made` are the payouts so far; those of usage.payouts when absent.
    Raises ValueError when the month is none or payouts were made in another currency, RollupMovingError.
    """
    span = month_of(month)
    since, until = day_of(span.start_us // DAY_US), day_of(span.end_us // DAY_US)
    so_far: dict[str, list[MadePayout]] = {}
    for each in read_made(client, builder) if made is None else made:
        so_far.setdefault(each.builder, []).append(each)
    earnings = read_earnings(client, builder, until)
    parts: dict[str, list[PayoutPart]] = {}
    for row in read_sums(client, ("builder", "app", "customer"), builder=builder, since=since, until=until):
        part = PayoutPart(row["app"], row["customer"], row["lines"], row["builder_earnings_pico"])
        parts.setdefault(row["builder"], []).append(part)
    names = [builder] if builder else sorted({*earnings, *so_far})
    statements = (
        PayoutStatement(
            payout_of(catalog, name, month, earnings.get(name, {}), so_far.get(name, ()), now_us),
            catalog.builders.get(name, name),
            tuple(parts.get(name, ())),
        )
        for name in names
    )
    shown = tuple(each for each in statements if builder or each.parts or _has_amounts(each.payout))
    return PayoutReport(month, catalog.currency, shown)


def read_made(client: Client, builder: str | None = None) -> list[MadePayout]:
    """Return the payouts that were made, of all builders or of one, as far as the sink has brought them."""
    rows = client.query(_MADE, parameters={"builder": builder or ""}).result_rows
    return [MadePayout(*row) for row in rows]


def read_month_nets(client: Client, catalog: Catalog) -> list[tuple[str, str, int]]:
    """Return (builder, month, picodollars): the earnings of each month alone, less its fee (R11.1)."""
    return [
        (builder, month, pico - fee_of(catalog.platform_fee_percent_pico, pico))
        for builder, months in sorted(read_earnings(client).items())
        for month, pico in sorted(months.items())
    ]


def read_earnings(client: Client, builder: str | None = None, until: date | None = None) -> Earnings:
    """Return what builders, or one of them, earned by calendar month, of what was posted before a day."""
    found: dict[str, dict[str, int]] = {}
    for row in read_sums(client, ("builder", "month"), builder=builder, until=until):
        found.setdefault(row["builder"], {})[f"{row['month']:%Y-%m}"] = row["builder_earnings_pico"]
    return found


def _has_amounts(payout: Payout) -> bool:
    return any((payout.made_at, payout.earnings_pico, payout.carried_in_pico))

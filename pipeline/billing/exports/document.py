"""What an export is made of: a statement, who it is for, and the charges that its rows are the sums of."""

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.domain.catalog import Catalog
from pipeline.domain.instants import DAY_US, day_of, day_start_us
from pipeline.domain.money import PICO
from pipeline.domain.periods import Period, period_at
from pipeline.domain.statements import Statement, StatementRow, format_exact
from pipeline.domain.words import count_of

CENT_PICO = PICO // 100


class Charge(NamedTuple):
    """The lines of one day that differ in nothing that a charge is told apart by, summed up."""

    day: str
    """Of the posting time, such as "2026-11-03"."""
    feature: str
    unit: str
    workspace: str
    deployment: str
    environment: str
    model: str
    kind: str
    late: bool
    plan: str
    plan_version: int
    catalog: str
    lines: int
    quantity: int
    included: int
    granted: int
    overage: int
    blocked: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    surcharge_pico: int
    charge_pico: int


class Parties(NamedTuple):
    """Who bills whom, for whose app, in what."""

    customer_name: str
    builder_name: str
    issuer: str
    """Who bills."""
    currency: str


@dataclass(frozen=True, slots=True)
class Document:
    """A statement to be exported. It holds nothing that the customer may not see."""

    statement: Statement
    parties: Parties
    charges: tuple[Charge, ...] = ()
    """In a fixed order; only the formats that say so need them."""

    @property
    def period(self) -> Period:
        """Return the period with its bounds (R3.1)."""
        return period_of(self.statement.period)


def period_of(name: str) -> Period:
    """Return the period that is named by its first day (R3.1)."""
    return period_at(day_start_us(name), int(name[-2:]))


def last_day_of(period: Period) -> str:
    """Return a period's last day."""
    return day_of(period.end_us // DAY_US - 1).isoformat()


def parties_of(catalog: Catalog, customer: str, app: str, issuer: str) -> Parties:
    """Return the names that a catalog has for the parties; ids where it has none."""
    owner = catalog.apps.get(app)
    builder = owner.builder if owner else ""
    return Parties(
        catalog.customers.get(customer, customer),
        catalog.builders.get(builder, builder or app),
        issuer,
        catalog.currency,
    )


def rounding_of(row: StatementRow) -> int:
    """Return what rounding adds to a row's exact charge, in picodollars: cents come into being on rows only (R5.4)."""
    return row.amount_cents * CENT_PICO - row.charge_pico


def sentence_of(row: StatementRow) -> str:
    """Say a row in customer language, such as "search: 182 pages (180 included, 2 paid)"."""
    shares = {"included": row.included, "granted": row.granted, "paid": row.overage, "blocked": row.blocked}
    told = ", ".join(f"{count:,} {name}" for name, count in shares.items() if count)
    return f"{row.feature}: {count_of(row.quantity, row.unit)}{f' ({told})' if told else ''}"


def decimal_of(pico: int) -> str:
    """Return an amount as a decimal string with all the decimals that it has, two at least."""
    whole, fraction = format_exact(pico).split(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"

"""Statements: what a customer owes for an app in a period, in the customer's own words (R8.1)."""

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.domain.catalog import Catalog
from pipeline.domain.closings import closes_at_us
from pipeline.domain.money import PICO, format_cents, round_to_cents

USAGE = "usage"
"""The kind whose quantities count on a statement (R6.2)."""

StatementState = Literal["open", "closed", "frozen"]
"""Lines may still come; end and grace are over; a closing is there, and the statement is the same for ever (R10.3)."""

DIMENSIONS = ("workspace", "deployment", "environment", "model")
"""By what a statement's rows can be broken down (R8.1)."""


@dataclass(frozen=True, slots=True)
class DetailRow:
    """The part of a statement row that falls to one workspace, deployment, environment or model.

    Its charge is exact, not rounded to the cent, so that the parts of a row sum to the row (R5.4).
    """

    name: str
    quantity: int
    included: int
    granted: int
    overage: int
    blocked: int
    charge_pico: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int

    def as_dict(self, dimension: str) -> dict[str, Any]:
        """Return the part as JSON, with its name under the name of the dimension."""
        return {
            dimension: self.name,
            "quantity": self.quantity,
            "included": self.included,
            "granted": self.granted,
            "overage": self.overage,
            "blocked": self.blocked,
            "charge_pico": self.charge_pico,
            "charge": format_exact(self.charge_pico),
            "input_tokens": self.input_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "output_tokens": self.output_tokens,
        }


@dataclass(frozen=True, slots=True)
class StatementRow:
    """What was used of one feature in one unit: quantities of kind `usage`, the charge of every kind."""

    feature: str
    unit: str
    quantity: int
    included: int
    granted: int
    overage: int
    blocked: int
    charge_pico: int
    detail: tuple[DetailRow, ...] = ()

    @property
    def amount_cents(self) -> int:
        """Return the charge rounded to the cent, half to even (R5.4)."""
        return round_to_cents(self.charge_pico)

    def as_dict(self, dimension: str | None = None) -> dict[str, Any]:
        """Return the row as JSON, with its detail when a dimension is named."""
        row: dict[str, Any] = {
            "feature": self.feature,
            "unit": self.unit,
            "quantity": self.quantity,
            "included": self.included,
            "granted": self.granted,
            "overage": self.overage,
            "blocked": self.blocked,
            "charge_pico": self.charge_pico,
            "amount": format_cents(self.amount_cents),
        }
        if dimension is not None:
            row["detail"] = [part.as_dict(dimension) for part in self.detail]
        return row


@dataclass(frozen=True, slots=True)
class Statement:
    """The statement of a (customer, app, period); rows stand in the order of (feature, unit) (R8.1)."""

    customer: str
    app: str
    period: str
    rows: tuple[StatementRow, ...]
    dimension: str | None = None
    state: StatementState | None = None
    """None where it is not known when the period may close: without the catalog."""
    cut_off: int | None = None
    """Of a frozen statement: the customer's last line that could be in it (R10.3)."""

    @property
    def total_cents(self) -> int:
        """Return the sum of the rounded rows (R5.4)."""
        return sum(row.amount_cents for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Return the statement as JSON."""
        return {
            "customer": self.customer,
            "app": self.app,
            "period": self.period,
            **({} if self.state is None else {"state": self.state}),
            **({} if self.cut_off is None else {"cut_off": self.cut_off}),
            "rows": [row.as_dict(self.dimension) for row in self.rows],
            "total": format_cents(self.total_cents),
        }


def statement_state(
    catalog: Catalog | None, customer: str, app: str, period: str, *, frozen: bool, now_us: int
) -> StatementState | None:
    """Return how a statement stands at an instant (R10.3); None without a catalog that knows when it may close."""
    if frozen:
        return "frozen"
    closes_us = None if catalog is None else closes_at_us(catalog, customer, app, period)
    if closes_us is None:
        return None
    return "closed" if closes_us <= now_us else "open"


class StatementBuilder:
    """Sum lines into statements, one for each (customer, app, period) that has a line."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, str], dict[tuple[str, str], list[int]]] = {}

    def add(
        self,
        *,
        customer: str,
        app: str,
        period: str,
        feature: str,
        unit: str,
        kind: str,
        quantity: int,
        included: int,
        granted: int,
        overage: int,
        blocked: int,
        charge_pico: int,
    ) -> None:
        """Add one line: its quantities when its kind is `usage`, its charge always."""
        rows = self._sums.setdefault((customer, app, period), {})
        sums = rows.setdefault((feature, unit), [0, 0, 0, 0, 0, 0])
        sums[5] += charge_pico
        if kind == USAGE:
            sums[0] += quantity
            sums[1] += included
            sums[2] += granted
            sums[3] += overage
            sums[4] += blocked

    def statements(self) -> list[Statement]:
        """Return the statements in the order of (customer, app, period)."""
        return [
            Statement(*key, tuple(_row(names, sums) for names, sums in sorted(rows.items())))
            for key, rows in sorted(self._sums.items())
        ]


def _row(names: tuple[str, str], sums: list[int]) -> StatementRow:
    feature, unit = names
    quantity, included, granted, overage, blocked, charge_pico = sums
    return StatementRow(feature, unit, quantity, included, granted, overage, blocked, charge_pico)


def format_exact(pico: int) -> str:
    """Return an amount as a decimal string of the currency with all its twelve decimals."""
    whole, fraction = divmod(abs(pico), PICO)
    return f"{'-' if pico < 0 else ''}{whole}.{fraction:012d}"

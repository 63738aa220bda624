"""Statements in cells: one model in one feature and workspace, with what was used, covered, paid and charged of it."""

from dataclasses import dataclass, field
from typing import NamedTuple

FURTHER_CALL = "further call"
"""What is counted of lines of quantity 0 (R6.6)."""


class PriceRange(NamedTuple):
    """The least and the greatest of some amounts."""

    least: int
    greatest: int

    @staticmethod
    def around(one: "PriceRange | None", other: "PriceRange | None") -> "PriceRange | None":
        """Return the range around two."""
        if one is None or other is None:
            return one or other
        return PriceRange(min(one.least, other.least), max(one.greatest, other.greatest))


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """Lines of one statement that are alike, summed. Amounts in picodollars."""

    workspace: str
    feature: str
    unit: str
    model: str
    model_class: str
    plan: str
    plan_version: int
    kind: str
    late: bool
    counted: bool
    """Whether their quantity is above 0."""
    lines: int
    charged_lines: int
    """Those of which some cost or charge is not 0."""
    quantity: int
    covered: int
    """By allowances and grants."""
    overage: int
    blocked: int
    tokens: int
    cost_charged_pico: int
    surcharge_pico: int
    charge_pico: int
    unit_price: PriceRange | None = None
    """Least and greatest price of a unit in its lines, without surcharges, in picodollars; None when nothing is paid."""
    margin_share: PriceRange | None = None
    """Least and greatest margin in its lines, in millionths of the cost; None when no cost is charged."""


@dataclass(slots=True)
class Side:
    """A cell in one of the two statements. What is counted are units or, of lines of quantity 0, lines."""

    quantity: int = 0
    covered: int = 0
    blocked: int = 0
    paid: int = 0
    lines: int = 0
    tokens: int = 0
    cost_pico: int = 0
    """What was charged of the cost."""
    surcharge_pico: int = 0
    charge_pico: int = 0
    plans: set[tuple[str, int]] = field(default_factory=set)
    unit_price: PriceRange | None = None
    margin_share: PriceRange | None = None

    @property
    def base_pico(self) -> int:
        """Return the price without surcharges."""
        return self.charge_pico - self.surcharge_pico

    def add(self, group: UsageGroup) -> None:
        """Add lines."""
        self.quantity += group.quantity if group.counted else group.lines
        self.covered += group.covered if group.counted else group.lines - group.charged_lines
        self.blocked += group.blocked
        self.paid += group.overage if group.counted else group.charged_lines
        self.lines += group.lines
        self.tokens += group.tokens
        self.cost_pico += group.cost_charged_pico
        self.surcharge_pico += group.surcharge_pico
        self.charge_pico += group.charge_pico
        self.plans.add((group.plan, group.plan_version))
        self.unit_price = PriceRange.around(self.unit_price, group.unit_price)
        self.margin_share = PriceRange.around(self.margin_share, group.margin_share)


class CellKey(NamedTuple):
    """What a cell is of."""

    workspace: str
    unit: str
    counted: bool
    feature: str
    model: str
    model_class: str

    @property
    def noun(self) -> str:
        """Return what is counted."""
        return self.unit if self.counted else FURTHER_CALL

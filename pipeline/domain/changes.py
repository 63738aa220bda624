"""Why a bill changed: the difference of two statements in parts that sum to it exactly.

Each cell, one model in one feature and workspace, is walked from the old statement to the new one a step at a time:
volume at the old mix and price, mix, allowance, blocked, price with cost and surcharge. What a step adds is its part, so
the parts of a cell sum to its difference whatever is rounded. `changes_prices` says what a unit's old price is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.domain.changes_cells import CellKey, Side, UsageGroup
from pipeline.domain.changes_prices import UNPRICED, UnitPrice, follows_cost, unit_prices
from pipeline.domain.money import divide_half_even, format_cents, round_to_cents
from pipeline.domain.statements import format_exact

PartName = Literal["volume", "mix", "allowance", "blocked", "price", "cost", "surcharge", "at_cost", "late", "rounding"]
PARTS: tuple[PartName, ...] = (
    *("volume", "mix", "allowance", "blocked", "price", "cost", "surcharge", "at_cost", "late", "rounding"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell in both statements, with what each step adds, in picodollars."""

    key: CellKey
    old: Side
    new: Side
    price: UnitPrice
    """What a unit is worth in all steps but the last."""
    scaled: int
    """The new quantity of the cell's workspace and unit at the old mix, rounded: for sentences."""
    parts: dict[PartName, int]


@dataclass(frozen=True, slots=True)
class Extra:
    """What is told apart from volume and price: late lines, or those of a kind that is charged at cost."""

    kind: str
    """Empty for late lines."""
    old_lines: int
    new_lines: int
    pico: int


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The exact difference of two statements, and that of their totals in cents (R5.4)."""

    cells: tuple[Cell, ...]
    extras: tuple[Extra, ...]
    old_cents: int
    new_cents: int

    @property
    def difference_cents(self) -> int:
        """Return by how much the total has grown."""
        return self.new_cents - self.old_cents


@dataclass(frozen=True, slots=True)
class ChangeSentence:
    """What one change adds to the total. All of them sum to the difference, in cents."""

    part: PartName
    cents: int
    text: str
    pico: int
    """Exact; 0 for rounding."""
    workspace: str | None = None
    feature: str | None = None
    unit: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the sentence as JSON."""
        return {
            "part": self.part,
            "amount": format_cents(self.cents),
            "cents": self.cents,
            "exact_pico": self.pico,
            "exact": format_exact(self.pico),
            "workspace": self.workspace,
            "feature": self.feature,
            "unit": self.unit,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class ChangeExplanation:
    """Why the statement of a (customer, app, period) differs from that of another period."""

    customer: str
    app: str
    period: str
    against: str | None
    """None when the customer has no earlier period."""
    old_cents: int
    new_cents: int
    sentences: tuple[ChangeSentence, ...]
    """Biggest first, rounding last."""
    headline: str
    notes: tuple[str, ...] = ()

    @property
    def difference_cents(self) -> int:
        """Return by how much the total has grown."""
        return self.new_cents - self.old_cents

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON: `parts` and `sentences` each sum to `difference`, in cents."""
        cents: dict[str, int] = {}
        for each in self.sentences:
            cents[each.part] = cents.get(each.part, 0) + each.cents
        order = sorted(cents, key=lambda part: (part == "rounding", -abs(cents[part]), part))
        return {
            "customer": self.customer,
            "app": self.app,
            "period": self.period,
            "against": self.against,
            "old_total": format_cents(self.old_cents),
            "new_total": format_cents(self.new_cents),
            "difference": format_cents(self.difference_cents),
            "difference_cents": self.difference_cents,
            "headline": self.headline,
            "notes": list(self.notes),
            "parts": [{"part": part, "amount": format_cents(cents[part]), "cents": cents[part]} for part in order],
            "sentences": [each.as_dict() for each in self.sentences],
        }


def decompose(old: Iterable[UsageGroup], new: Iterable[UsageGroup]) -> Decomposition:
    """Return the difference of two statements in cells and steps; both are given as sums of their lines."""
    sides, groups = ({}, {}), (tuple(old), tuple(new))  # type: tuple[dict[CellKey, Side], dict[CellKey, Side]], Any
    for cells, side in zip(sides, groups, strict=True):
        for group in side:
            if group.kind == "usage" and not group.late:
                cells.setdefault(_key(group), Side()).add(group)
    return Decomposition(
        cells=tuple(_cells(*sides)),
        extras=tuple(_extras(*groups)),
        old_cents=total_cents(groups[0]),
        new_cents=total_cents(groups[1]),
    )


def total_cents(groups: Iterable[UsageGroup]) -> int:
    """Return a statement's total: the sum of its rows by feature and unit, each rounded (R5.4)."""
    rows: dict[tuple[str, str], int] = {}
    for group in groups:
        row = (group.feature, group.unit)
        rows[row] = rows.get(row, 0) + group.charge_pico
    return sum(map(round_to_cents, rows.values()))


def _key(group: UsageGroup) -> CellKey:
    return CellKey(group.workspace, group.unit, group.counted, group.feature, group.model, group.model_class)


def _cells(old: dict[CellKey, Side], new: dict[CellKey, Side]) -> Iterator[Cell]:
    volumes: dict[tuple[str, str, bool], list[int]] = {}
    for place, side in enumerate((old, new)):
        for key, each in side.items():
            volumes.setdefault(key[:3], [0, 0])[place] += each.quantity
    prices = unit_prices(old, new)
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key, Side()), new.get(key, Side())
        whole_before, whole_after = volumes[key[:3]]
        yield _cell(key, before, after, whole_before, whole_after, prices.get(key, UNPRICED))


def _cell(key: CellKey, old: Side, new: Side, whole_old: int, whole_new: int, price: UnitPrice) -> Cell:
    """Walk a cell from the old to the new statement; `whole` are the quantities of its workspace and unit."""
    # At the old mix; what had no volume before has no mix to keep.
    scaled, divisor = (old.quantity * whole_new, whole_old) if whole_old else (new.quantity, 1)
    at_old_mix, at_new_mix = price.of(scaled, divisor), price.of(new.quantity)
    uncovered = price.of(new.quantity - new.covered)
    old_uncovered = price.of(old.quantity - old.covered)
    parts: dict[PartName, int] = {
        "volume": at_old_mix - price.of(old.quantity),
        "mix": at_new_mix - at_old_mix,
        "allowance": (uncovered - at_new_mix) - (old_uncovered - price.of(old.quantity)),
        "blocked": (price.of(new.paid) - uncovered) - (price.of(old.paid) - old_uncovered),
    }
    rest = new.charge_pico - old.charge_pico - sum(parts.values())
    parts |= _price_parts(old, new, price, rest)
    return Cell(
        key, old, new, price, divide_half_even(scaled, divisor), {name: pico for name, pico in parts.items() if pico}
    )


def _price_parts(old: Side, new: Side, price: UnitPrice, rest: int) -> dict[PartName, int]:
    """Divide what another price per unit adds: by surcharges, by what the calls cost, and by the plan's prices.

    Where the margin is the same percentage of the cost as before, the cost has changed the price, and not the plan.
    """
    surcharge = (new.surcharge_pico - price.surcharge_of(new.paid)) - (
        old.surcharge_pico - price.surcharge_of(old.paid)
    )
    base = rest - surcharge
    by_cost = 0
    if old.paid and new.paid and not price.pooled:
        if follows_cost(old, new, old.surcharge_pico, new.surcharge_pico):
            by_cost, surcharge = surcharge, 0
        if follows_cost(old, new, old.base_pico, new.base_pico):
            by_cost, base = by_cost + base, 0
    return {"price": base, "cost": by_cost, "surcharge": surcharge}


def _extras(old: Iterable[UsageGroup], new: Iterable[UsageGroup]) -> Iterator[Extra]:
    sums: dict[str, list[int]] = {}
    for place, groups in enumerate((old, new)):
        for group in groups:
            if group.late or group.kind != "usage":
                found = sums.setdefault("" if group.late else group.kind, [0, 0, 0, 0])
                found[place] += group.lines if group.late else group.charged_lines
                found[2 + place] += group.charge_pico
    for kind, (old_lines, new_lines, old_pico, new_pico) in sorted(sums.items()):
        if new_pico != old_pico:
            yield Extra(kind, old_lines, new_lines, new_pico - old_pico)

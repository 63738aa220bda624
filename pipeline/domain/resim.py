"""What a simulation finds: the bills of a period as they are, and as another catalog makes them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from pipeline.domain.money import PICO, format_cents, round_to_cents
from pipeline.domain.statements import format_exact

Way = Literal["lines", "log"]
"""From what a new bill was rated: the lines in ClickHouse, or the records in Kafka."""
BillKey = tuple[str, str]
"""(customer, app)."""


class Sums(msgspec.Struct, gc=False):
    """What lines sum to; amounts in picodollars."""

    lines: int = 0
    overage: int = 0
    blocked: int = 0
    charge_pico: int = 0
    earnings_pico: int = 0

    def add(self, other: "Sums") -> None:
        """Add other lines."""
        self.lines += other.lines
        self.overage += other.overage
        self.blocked += other.blocked
        self.charge_pico += other.charge_pico
        self.earnings_pico += other.earnings_pico


class Bill(msgspec.Struct):
    """One side of a (customer, app) in a period: its statement's rows by (feature, unit) (R8.1)."""

    builder: str = ""
    plans: set[tuple[str, int]] = msgspec.field(default_factory=set)
    rows: dict[tuple[str, str], Sums] = msgspec.field(default_factory=dict)

    def row(self, feature: str, unit: str) -> Sums:
        """Return a row, an empty one when there is none yet."""
        found = self.rows.get((feature, unit))
        if found is None:
            found = self.rows[feature, unit] = Sums()
        return found

    @property
    def total(self) -> Sums:
        """Return the exact sum of the rows."""
        total = Sums()
        for row in self.rows.values():
            total.add(row)
        return total

    @property
    def total_cents(self) -> int:
        """Return what the statement says: the sum of the rounded rows (R5.4)."""
        return sum(round_to_cents(row.charge_pico) for row in self.rows.values())


Bills = dict[BillKey, Bill]


def bill_of(bills: Bills, customer: str, app: str) -> Bill:
    """Return the bill of a (customer, app), an empty one when there is none yet."""
    found = bills.get((customer, app))
    if found is None:
        found = bills[customer, app] = Bill()
    return found


@dataclass(frozen=True, slots=True)
class BillChange:
    """The bill of a (customer, app) before and after."""

    customer: str
    app: str
    old: Bill
    new: Bill
    way: Way

    @property
    def difference_cents(self) -> int:
        """Return by how much the statement's total grows."""
        return self.new.total_cents - self.old.total_cents

    def grows_more_than(self, percent_pico: int) -> bool:
        """Return whether the customer pays more than so many 10^-12 percent more; from nothing, any amount is more."""
        grown = self.difference_cents
        return grown > 0 and grown * 100 * PICO > percent_pico * self.old.total_cents

    def as_dict(self) -> dict[str, Any]:
        """Return the change as JSON."""
        old, new = self.old.total, self.new.total
        return {
            "customer": self.customer,
            "app": self.app,
            "plan_old": plans_text(self.old),
            "plan_new": plans_text(self.new),
            "old": format_cents(self.old.total_cents),
            "new": format_cents(self.new.total_cents),
            "difference": format_cents(self.difference_cents),
            "percent": percent_text(self.difference_cents, self.old.total_cents),
            "old_pico": old.charge_pico,
            "new_pico": new.charge_pico,
            "difference_pico": new.charge_pico - old.charge_pico,
            "builder": self.new.builder or self.old.builder,
            "builder_earnings_old": format_exact(old.earnings_pico),
            "builder_earnings_new": format_exact(new.earnings_pico),
            "paid_units_old": old.overage,
            "paid_units_new": new.overage,
            "blocked_units_old": old.blocked,
            "blocked_units_new": new.blocked,
            "lines": old.lines,
            "from": self.way,
        }


class Skipped(msgspec.Struct, frozen=True, order=True):
    """A customer that was not simulated, and why."""

    customer: str
    reason: str


@dataclass(slots=True)
class Simulation:
    """A period under another catalog."""

    period: str
    currency: str
    bills: list[BillChange] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    from_log: Counter[str] = field(default_factory=Counter)
    """Why customers were rated from the log, and how many."""

    def take(self, old: Bills, new: Bills, way: Way) -> None:
        """Add the bills of some customers."""
        for customer, app in sorted(old.keys() | new.keys()):
            before, after = old.get((customer, app), Bill()), new.get((customer, app), Bill())
            self.bills.append(BillChange(customer, app, before, after, way))

    def paying_more_than(self, percent_pico: int) -> list[BillChange]:
        """Return who pays more than so many 10^-12 percent more, the largest difference first."""
        found = [bill for bill in self.bills if bill.grows_more_than(percent_pico)]
        return sorted(found, key=lambda bill: (-bill.difference_cents, bill.customer, bill.app))

    def earnings(self) -> dict[str, tuple[int, int]]:
        """Return builder to earnings before and after, in picodollars (R6.9)."""
        found: dict[str, list[int]] = {}
        for bill in self.bills:
            for side, each in enumerate((bill.old, bill.new)):
                if each.rows:
                    found.setdefault(each.builder, [0, 0])[side] += each.total.earnings_pico
        return {builder: (old, new) for builder, (old, new) in sorted(found.items())}

    def as_dict(self, more_than_pico: int) -> dict[str, Any]:
        """Return the simulation as JSON."""
        old, new = (sum(getattr(bill, side).total_cents for bill in self.bills) for side in ("old", "new"))
        return {
            "period": self.period,
            "currency": self.currency,
            "old": format_cents(old),
            "new": format_cents(new),
            "difference": format_cents(new - old),
            "bills": [bill.as_dict() for bill in sorted(self.bills, key=lambda bill: (bill.customer, bill.app))],
            "more_than_percent": format_exact(more_than_pico).rstrip("0").rstrip("."),
            "paying_more": [[bill.customer, bill.app] for bill in self.paying_more_than(more_than_pico)],
            "builders": [{"builder": builder, **_earnings(*both)} for builder, both in self.earnings().items()],
            "not_simulated": [{"customer": each.customer, "reason": each.reason} for each in sorted(self.skipped)],
            "notes": self.notes,
        }


def _earnings(old_pico: int, new_pico: int) -> dict[str, str]:
    return {
        "earnings_old": format_exact(old_pico),
        "earnings_new": format_exact(new_pico),
        "difference": format_exact(new_pico - old_pico),
    }


def plans_text(bill: Bill) -> str:
    """Return the plan versions of a bill, such as "team 1"."""
    return ", ".join(f"{plan} {version}" for plan, version in sorted(bill.plans))


def percent_text(difference_cents: int, old_cents: int) -> str | None:
    """Return a difference in percent with one decimal, half away from zero; None from nothing."""
    if old_cents == 0:
        return None
    tenths = (abs(difference_cents) * 2000 + abs(old_cents)) // (2 * abs(old_cents))
    sign = "-" if (difference_cents < 0) != (old_cents < 0) and tenths else ""
    return f"{sign}{tenths // 10}.{tenths % 10}"


def same_bills(rated: Bills, stored: Bills) -> bool:
    """Return whether two ratings of the same history agree, row by row, to the picodollar."""
    return {key: bill.rows for key, bill in rated.items()} == {key: bill.rows for key, bill in stored.items()}

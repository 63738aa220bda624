"""How early a migration must be published (R4.3)."""

from collections.abc import Sequence
from datetime import date

import yaml

from pipeline.catalog.faults import Fault
from pipeline.catalog.terms import Move
from pipeline.domain.instants import day_start_us

_NOTICE_DAYS = 30
"""What a proposed migration row says; whoever writes it decides."""


def earliest_day(today: date, notice_days: int = _NOTICE_DAYS) -> date:
    """Return the first day on which a migration that is published today with this notice may take effect (R4.3)."""
    return date.fromordinal(min(today.toordinal() + notice_days, date.max.toordinal()))


def migration_row(plan: str, left: int, entered: int, effective: date, customers: str | list[str]) -> str:
    """Return a migration as a line of YAML, ready to be added to `migrations`."""
    row = {"plan": plan, "from": left, "to": entered, "effective": effective, "customers": customers}
    row["notice_days"] = _NOTICE_DAYS
    text: str = yaml.safe_dump(row, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.strip()


def short_notices(old: Sequence[Move], new: Sequence[Move], today: date) -> tuple[list[Move], list[Fault]]:
    """Return the new migrations without those that come with too short a notice, and the faults of these (R4.3).

    What `old` has announced needs no further notice; a migration that adds customers to it is kept for the others.
    """
    kept: list[Move] = []
    faults: list[Fault] = []
    announced = _announced(old)
    for move in new:
        known = announced.get(_terms(move), frozenset())
        notice_days = move.row.whole("notice_days") or 0
        earliest = earliest_day(today, notice_days)
        if _covers(known, move.customers) or move.effective_us >= day_start_us(earliest.isoformat()):
            kept.append(move)
            continue
        kept.append(move._replace(customers=known))
        days = f"{notice_days} day{'' if notice_days == 1 else 's'}"
        message = f"{move.row.text('effective')} is too early for a migration that is published on {today} with {days} of notice"
        faults.append(move.row.fault(("effective",), message, f"the earliest day is {earliest}"))
    return kept, faults


def _terms(move: Move) -> tuple[str, int, int, int]:
    return move.plan, move.from_version, move.to_version, move.effective_us


def _announced(moves: Sequence[Move]) -> dict[tuple[str, int, int, int], frozenset[str] | None]:
    """Return whom each published migration moves; None = all."""
    announced: dict[tuple[str, int, int, int], frozenset[str] | None] = {}
    for move in moves:
        known = announced.get(_terms(move), frozenset())
        announced[_terms(move)] = None if known is None or move.customers is None else known | move.customers
    return announced


def _covers(known: frozenset[str] | None, customers: frozenset[str] | None) -> bool:
    return known is None or (customers is not None and customers <= known)

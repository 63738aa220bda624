"""Subscriptions over time, with migrations applied (R4.3)."""

from collections.abc import Iterable
from typing import NamedTuple

from pipeline.catalog.rows import Row, plan_key
from pipeline.domain.instants import day_start_us

_FIRST_START_US = day_start_us("1971-01-01")
"""Nothing is posted before 1970, and a period of 1971 begins within ClickHouse's Date, which starts in 1970."""
_LAST_END_US = day_start_us("2139-12-31")
"""The last day of record timestamps; what ends later is as good as open."""


class Term(NamedTuple):
    """A customer on a plan version in [start_us, end_us); end None = open."""

    customer: str
    plan: str
    version: int
    start_us: int
    end_us: int | None
    signed: Row
    """The subscription that it comes from."""

    def holds(self, instant_us: int) -> bool:
        """Return whether the term is in force at an instant."""
        return self.start_us <= instant_us and (self.end_us is None or instant_us < self.end_us)


class Move(NamedTuple):
    """A migration: who leaves which plan version for which, and when."""

    effective_us: int
    plan: str
    from_version: int
    to_version: int
    customers: frozenset[str] | None
    """None = all."""
    row: Row


def signed_terms(subscriptions: Iterable[Row]) -> list[Term]:
    """Return the subscriptions as they were signed; malformed and empty ones are left out."""
    terms = []
    for row in subscriptions:
        customer, plan = row.text("customer"), plan_key(row, plan="plan")
        start_us, end_us = day_us(row, "start"), day_us(row, "end")
        if customer is None or plan is None or start_us is None or ("end" in row.value and end_us is None):
            continue
        if end_us is None or start_us < end_us:
            terms.append(Term(customer, *plan, start_us, end_us, row))
    return terms


def moves_of(migrations: Iterable[Row]) -> list[Move]:
    """Return the migrations in the order in which they apply; malformed ones are left out."""
    moves = []
    for row in migrations:
        left, entered = plan_key(row, "from", "plan"), plan_key(row, "to", "plan")
        effective_us = day_us(row, "effective")
        if left is None or entered is None or effective_us is None or "customers" not in row.value:
            continue
        listed = None if row.text("customers") else frozenset(text for _, text in row.texts("customers"))
        moves.append(Move(effective_us, left[0], left[1], entered[1], listed, row))
    return sorted(moves, key=lambda move: (move.effective_us, move.from_version))


def migrated(terms: list[Term], moves: Iterable[Move]) -> list[Term]:
    """Split each term that a migration finds in force at its `effective` into before and after (R4.3)."""
    for move in moves:
        moved: list[Term] = []
        for term in terms:
            moved.extend(_split(term, move) if _takes(move, term) else (term,))
        terms = moved
    return terms


def terms_in_force(subscriptions: Iterable[Row], moves: Iterable[Move]) -> list[Term]:
    """Return who is on which plan version when: migrations applied, then cut to the days in which usage is posted."""
    cut = [_within_bounds(term) for term in migrated(signed_terms(subscriptions), moves)]
    return [term for term in cut if term.end_us is None or term.start_us < term.end_us]


def _within_bounds(term: Term) -> Term:
    """Cut a term to the days in which usage is posted; one that lies outside of them becomes empty."""
    start_us = max(term.start_us, _FIRST_START_US)
    if start_us > _LAST_END_US:
        return term._replace(start_us=start_us, end_us=start_us)
    open_end = term.end_us is None or term.end_us > _LAST_END_US
    return term._replace(start_us=start_us, end_us=None if open_end else term.end_us)


def term_at(terms: Iterable[Term], instant_us: int) -> Term | None:
    """Return the term of one customer and app that is in force at an instant, None without one."""
    return next((term for term in terms if term.holds(instant_us)), None)


def _takes(move: Move, term: Term) -> bool:
    same_plan = (term.plan, term.version) == (move.plan, move.from_version)
    return same_plan and term.holds(move.effective_us) and (move.customers is None or term.customer in move.customers)


def _split(term: Term, move: Move) -> list[Term]:
    after = term._replace(version=move.to_version, start_us=move.effective_us)
    if term.start_us == move.effective_us:
        return [after]
    return [term._replace(end_us=move.effective_us), after]


def day_us(row: Row, key: str) -> int | None:
    """Return the instant at which the day under a key begins, None when there is no such day."""
    text = row.text(key)
    try:
        return None if text is None else day_start_us(text)
    except ValueError:
        return None

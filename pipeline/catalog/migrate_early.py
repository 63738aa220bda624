"""A catalog whose new migrations take effect early: at the start of a period that is simulated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from pipeline.catalog.build import build_catalog
from pipeline.catalog.positions import YamlFile
from pipeline.catalog.rows import rows_of
from pipeline.catalog.terms import Move, moves_of, terms_in_force
from pipeline.domain.catalog import Catalog, Subscription
from pipeline.domain.instants import day_start_us


@dataclass(frozen=True, slots=True)
class EarlyMove:
    """A migration that takes effect at the start of the period instead of at its own day."""

    plan: str
    from_version: int
    to_version: int
    effective: str
    """Its own day."""


def bring_forward(files: Sequence[YamlFile], old: Sequence[YamlFile], period: date) -> tuple[Catalog, list[EarlyMove]]:
    """Return the catalog of `files` with the migrations that `old` has not taking effect at the start of a period.

    Whether their notice is long enough does not matter. Neither `files` nor `old` have faults.
    """
    start_us = day_start_us(period.isoformat())
    customers = frozenset(row.value["id"] for row in rows_of(files, "customers"))
    moves, early = _moves(
        moves_of(rows_of(files, "migrations")), moves_of(rows_of(old, "migrations")), customers, start_us
    )
    catalog = build_catalog(files)
    found: dict[tuple[str, str], list[Subscription]] = {}
    for term in sorted(terms_in_force(rows_of(files, "subscriptions"), moves), key=lambda term: term.start_us):
        plan = catalog.plans[term.plan, term.version]
        subscription = Subscription(term.customer, plan, term.start_us, term.end_us)
        found.setdefault((term.customer, plan.app), []).append(subscription)
    return replace(catalog, subscriptions={key: tuple(each) for key, each in found.items()}), early


def _moves(
    new: Sequence[Move], old: Sequence[Move], customers: frozenset[str], start_us: int
) -> tuple[list[Move], list[EarlyMove]]:
    """Return all moves in the order in which they apply, and those that are brought forward."""
    ordered: list[tuple[int, int, Move]] = []
    early = []
    for number, move in enumerate(new):
        known = _known(move, old, customers)
        meant = customers if move.customers is None else move.customers
        if meant <= known:
            ordered.append((move.effective_us, number, move))
            continue
        if known:
            ordered.append((move.effective_us, number, move._replace(customers=known)))
        ordered.append((start_us, number, move._replace(effective_us=start_us, customers=meant - known)))
        text = move.row.text("effective") or ""
        early.append(EarlyMove(move.plan, move.from_version, move.to_version, text))
    return [move for _, _, move in sorted(ordered, key=lambda each: each[:2])], early


def _known(move: Move, old: Sequence[Move], customers: frozenset[str]) -> frozenset[str]:
    """Return the customers whom the same migration moves in `old` already."""
    known: frozenset[str] = frozenset()
    for other in old:
        if _terms(other) == _terms(move):
            known |= customers if other.customers is None else other.customers
    return known


def _terms(move: Move) -> tuple[str, int, int, int]:
    return move.plan, move.from_version, move.to_version, move.effective_us

"""What a new catalog may not do to the customers of a published one: rewrite their past, move them unannounced (R4.3)."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from pipeline.catalog.faults import Fault
from pipeline.catalog.notice import earliest_day, migration_row
from pipeline.catalog.terms import Move, Term, migrated, term_at
from pipeline.domain.instants import DAY_US, day_of, day_start_us

Timelines = dict[tuple[str, str], list[Term]]
"""(customer, app) to its terms in force, by start, without overlap."""


def past_changes(path: Path, old: Timelines, new: Timelines, today: date) -> Iterator[Fault]:
    """Yield the customers whose plan version at an instant before `today` 00:00 UTC is another than published.

    One fault for each customer and app, at the first such instant.
    """
    for (customer, app), before in sorted(old.items()):
        after = new.get((customer, app), [])
        for instant_us in _boundaries(before, after):
            if instant_us >= day_start_us(today.isoformat()):
                break
            was, found = term_at(before, instant_us), term_at(after, instant_us)
            if _named(was) == _named(found):
                continue
            since = day_of(instant_us // DAY_US)
            message = (
                f"customer {customer} had {_named(was)} for app {app} from {since} on, here it has {_named(found)}"
            )
            hint = f"put it back: what was in force before {today} never changes"
            missing = Fault(str(path), 0, 0, "subscriptions", message, hint)
            yield found.signed.fault((), message, hint) if found else missing
            break


def unannounced_moves(old: Timelines, new: Timelines, moves: Sequence[Move], today: date) -> Iterator[Fault]:
    """Yield the subscriptions in force on `today` that `new` takes to another version of their plan by itself.

    Only the migrations of `new` may do that; ending a subscription, or going to another plan, is the customer's own
    business. One fault for each customer and app.
    """
    today_us = day_start_us(today.isoformat())
    coming = [move for move in moves if move.effective_us >= today_us]
    for key, before in sorted(old.items()):
        held = term_at(before, today_us)
        if held is None:
            continue
        signed_end_us = [term.end_us for term in before if term.signed is held.signed][-1]
        due = migrated([held._replace(end_us=signed_end_us)], coming)
        fault = _unannounced_move(before, due, new.get(key, []), today)
        if fault is not None:
            yield fault


def _unannounced_move(before: list[Term], due: list[Term], after: list[Term], today: date) -> Fault | None:
    """Compare from `today` on what was published, what the migrations make of it, and what stands there now."""
    today_us = day_start_us(today.isoformat())
    instants = [today_us, *(instant for instant in _boundaries(before, due, after) if instant > today_us)]
    for instant_us in instants:
        was, expected, found = (term_at(terms, instant_us) for terms in (before, due, after))
        if was is None or expected is None or found is None or found.plan != expected.plan:
            return None
        if found.version not in (expected.version, was.version) and _row(found) != _row(was):
            return _moved(expected, found, due, max(day_of(instant_us // DAY_US), earliest_day(today)))
    return None


def _moved(expected: Term, found: Term, due: list[Term], effective: date) -> Fault:
    left = term_at(due, day_start_us(effective.isoformat())) or expected
    message = f"takes customer {found.customer} from version {expected.version} of {found.plan} without a migration"
    hint = "put the subscription back as it was"
    if left.version != found.version:
        row = migration_row(found.plan, left.version, found.version, effective, [found.customer])
        hint += f", and add to migrations: {row}"
    return found.signed.fault(("version",), message, hint)


def _row(term: Term) -> tuple[int | None, str | None]:
    """Return what a customer signed: while it stands unchanged, only migrations have moved the customer."""
    return term.signed.whole("version"), term.signed.text("start")


def _boundaries(*timelines: Sequence[Term]) -> list[int]:
    """Return every instant at which one of the timelines may change."""
    starts = {term.start_us for terms in timelines for term in terms}
    ends = {term.end_us for terms in timelines for term in terms if term.end_us is not None}
    return sorted(starts | ends)


def _named(term: Term | None) -> str:
    return "no plan" if term is None else f"{term.plan} version {term.version}"

"""A catalog that follows a published one keeps its plan versions, its past and its notice (R4.3)."""

from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from pathlib import Path

from pipeline.catalog.build import build_catalog
from pipeline.catalog.continuity import Timelines, past_changes, unannounced_moves
from pipeline.catalog.faults import CatalogError, Fault
from pipeline.catalog.load import read_catalog
from pipeline.catalog.notice import earliest_day, migration_row, short_notices
from pipeline.catalog.positions import YamlFile
from pipeline.catalog.rows import plan_key, rows_of
from pipeline.catalog.terms import Move, moves_of, terms_in_force
from pipeline.domain.catalog import Catalog, Plan


def check_published(path: Path, old: Path, today: date) -> list[Fault]:
    """Return the faults of the catalog at `path`, which is to follow the published `old` on the day `today` (R4.3).

    The two are compared once the new one has no fault of its own. Raises CatalogError with the faults of `old`.
    """
    old_files, old_faults = read_catalog(old)
    if old_faults:
        raise CatalogError(old_faults)
    files, faults = read_catalog(path)
    if faults:
        return faults
    before, after = build_catalog(old_files), build_catalog(files)
    old_moves = moves_of(rows_of(old_files, "migrations"))
    faults += _version_faults(path, files, before, after, today)
    moves, notice_faults = short_notices(old_moves, moves_of(rows_of(files, "migrations")), today)
    timelines = _timelines(old_files, old_moves, before), _timelines(files, moves, after)
    faults += notice_faults
    faults += past_changes(path, *timelines, today)
    faults += unannounced_moves(*timelines, moves, today)
    return faults


def _timelines(files: list[YamlFile], moves: list[Move], catalog: Catalog) -> Timelines:
    timelines: Timelines = {}
    for term in sorted(terms_in_force(rows_of(files, "subscriptions"), moves), key=lambda term: term.start_us):
        app = catalog.plans[term.plan, term.version].app
        timelines.setdefault((term.customer, app), []).append(term)
    return timelines


def _version_faults(path: Path, files: list[YamlFile], old: Catalog, new: Catalog, today: date) -> Iterator[Fault]:
    rows = {plan_key(row): row for row in rows_of(files, "plans")}
    for (plan, version), message in altered_versions(old, new):
        free = max(number for name, number in (*old.plans, *new.plans) if name == plan) + 1
        move = migration_row(plan, version, free, earliest_day(today), "all")
        hint = f"put it back as it was, write the change as version {free}, and add to migrations: {move}"
        row = rows.get((plan, version))
        yield row.fault((), message, hint) if row else Fault(str(path), 0, 0, "plans", message, hint)


def altered_versions(old: Catalog, new: Catalog) -> Iterator[tuple[tuple[str, int], str]]:
    """Yield each (plan, version) with subscribers in `old` that `new` lacks or alters, and what happened to it."""
    subscribers: dict[tuple[str, int], set[str]] = {}
    for (customer, _), subscriptions in old.subscriptions.items():
        for subscription in subscriptions:
            subscribers.setdefault((subscription.plan.id, subscription.plan.version), set()).add(customer)
    for key, customers in sorted(subscribers.items()):
        before, after = old.plans[key], new.plans.get(key)
        if after == before:
            continue
        change = "is missing" if after is None else f"differs in {', '.join(_changed(before, after))}"
        count = f"{len(customers)} subscriber{'s' if len(customers) > 1 else ''}"
        yield key, f"version {key[1]} of {key[0]} is published, has {count} and {change}"


def _changed(before: Plan, after: Plan) -> list[str]:
    return [each.name for each in fields(Plan) if getattr(before, each.name) != getattr(after, each.name)]

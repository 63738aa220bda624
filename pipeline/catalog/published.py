"""A published plan version never changes (R4.3)."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from pipeline.catalog.build import build_catalog
from pipeline.catalog.faults import Fault
from pipeline.catalog.load import read_catalog
from pipeline.catalog.rows import plan_key, rows_of
from pipeline.domain.catalog import Catalog, Plan

_NOTICE_DAYS = 30
"""What the proposed migration row says; whoever writes it decides."""


def check_published(path: Path, old: Catalog) -> list[Fault]:
    """Return the faults of the catalog at `path`, which follows the published `old` and must not alter it (R4.3).

    The two are compared once the new one has no fault of its own.
    """
    files, faults = read_catalog(path)
    if faults:
        return faults
    rows = {plan_key(row): row for row in rows_of(files, "plans")}
    new = build_catalog(files)
    for (plan, version), message in altered_versions(old, new):
        hint = _hint(plan, version, old, new)
        row = rows.get((plan, version))
        faults.append(row.fault((), message, hint) if row else Fault(str(path), 0, 0, "plans", message, hint))
    return faults


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


def _hint(plan: str, version: int, old: Catalog, new: Catalog) -> str:
    free = max(number for name, number in (*old.plans, *new.plans) if name == plan) + 1
    row = f"{{plan: {plan}, from: {version}, to: {free}, effective: YYYY-MM-DD, customers: all, notice_days: {_NOTICE_DAYS}}}"
    return f"put it back as it was, write the change as version {free}, and add to migrations: {row}"

"""The migration that an edited plan needs (R4.3): the published version stays, the edit becomes a new one.

The files are edited as text, so that comments and layout stay; what comes out is read back and checked before it counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from pipeline.catalog.build import build_catalog
from pipeline.catalog.faults import CatalogError, Fault
from pipeline.catalog.load import read_catalog
from pipeline.catalog.migrate_text import append_item, insert_before, replace_scalar
from pipeline.catalog.notice import earliest_day
from pipeline.catalog.positions import YamlFile
from pipeline.catalog.published import altered_versions
from pipeline.catalog.rows import Row, plan_key, rows_of
from pipeline.domain.catalog import Catalog, Plan
from pipeline.domain.instants import day_start_us

PlanKey = tuple[str, int]


class MigrationError(ValueError):
    """No migration can be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A plan version that was edited in place, and what it becomes."""

    old: Plan
    new: Plan
    effective: date
    customers: tuple[str, ...]
    """Those who are moved."""
    text: str
    """The row of `migrations`."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """The files of a catalog with its migrations, not written yet."""

    files: dict[str, str]
    """Name as it was read, to text."""
    migrations: list[Migration]


@dataclass(frozen=True, slots=True)
class Choice:
    """What whoever migrates decides."""

    today: date
    notice_days: int
    effective: date | None = None
    """None = the first start of a period that leaves the notice."""
    customers: tuple[str, ...] = ()
    """Empty = all."""


def migrate_catalog(old: Path, new: Path, choice: Choice) -> Migrated:
    """Return the catalog `new` with every published plan version that it alters put back, and a migration instead.

    Raises CatalogError with the faults of either, and MigrationError.
    """
    old_files, new_files = _read(old), _read(new)
    before, after = build_catalog(old_files), build_catalog(new_files)
    altered = [key for key, _ in altered_versions(before, after)]
    if not altered:
        raise MigrationError("no published plan version with subscribers is altered: nothing has to be migrated")
    missing = [f"{plan} version {version}" for plan, version in altered if (plan, version) not in after.plans]
    if missing:
        raise MigrationError(f"{', '.join(missing)}: a published version cannot be removed; put it back as it was")
    texts = {file.name: Path(file.name).read_text(encoding="utf-8-sig") for file in new_files}
    migrations = []
    free = _free_versions(before, after)
    for key in _from_the_end(altered, new_files):
        made = _migration(before, after, key, free.pop(key), choice)
        migrations.append(made)
        _edit(texts, new_files, old_files, made)
    migrations.sort(key=lambda made: (made.old.id, made.old.version))
    return Migrated(_with_rows(texts, [made.text for made in migrations]), migrations)


def _from_the_end(keys: Sequence[PlanKey], files: Sequence[YamlFile]) -> list[PlanKey]:
    """Return plans from the last of a file to the first, so that places stay what they are while the text is edited."""
    lines = {plan_key(row): row.file.mark(row.path).line for row in rows_of(files, "plans")}
    return sorted(keys, key=lambda key: -lines[key])


def _read(path: Path) -> list[YamlFile]:
    files, faults = read_catalog(path)
    if faults:
        raise CatalogError(faults)
    return files


def _free_versions(before: Catalog, after: Catalog) -> dict[PlanKey, int]:
    """Return for each altered version a number that its plan has not used yet."""
    used: dict[str, int] = {}
    for plan, version in (*before.plans, *after.plans):
        used[plan] = max(used.get(plan, 0), version)
    free = {}
    for key, _ in altered_versions(before, after):
        used[key[0]] += 1
        free[key] = used[key[0]]
    return free


def _migration(before: Catalog, after: Catalog, key: PlanKey, version: int, choice: Choice) -> Migration:
    old, new = before.plans[key], replace(after.plans[key], version=version)
    if old.app != new.app:
        raise MigrationError(
            f"{key[0]} version {key[1]}: a migration stays within one app; give the plan of app {new.app} its own id"
        )
    effective = choice.effective or _first_start(earliest_day(choice.today, choice.notice_days), old.anchor_day)
    if effective.day != old.anchor_day:
        raise MigrationError(
            f"{effective} is no start of a billing period of {old.id}: those begin on day {old.anchor_day} of the month"
        )
    if effective < earliest_day(choice.today, choice.notice_days):
        earliest = _first_start(earliest_day(choice.today, choice.notice_days), old.anchor_day)
        raise MigrationError(
            f"{effective} leaves less than {choice.notice_days} days of notice from {choice.today} on; the earliest start of a "
            f"period is {earliest}"
        )
    customers = _subscribers(after, key, effective)
    unknown = sorted(set(choice.customers) - set(customers))
    if unknown:
        raise MigrationError(f"{', '.join(unknown)}: not on {key[0]} version {key[1]} on {effective}")
    moved = tuple(name for name in customers if not choice.customers or name in choice.customers)
    return Migration(old, new, effective, moved, _row(key, version, effective, choice))


def _row(key: PlanKey, version: int, effective: date, choice: Choice) -> str:
    row = {
        "plan": key[0],
        "from": key[1],
        "to": version,
        "effective": effective,
        "customers": list(choice.customers) or "all",
        "notice_days": choice.notice_days,
    }
    text: str = yaml.safe_dump(row, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.strip()


def _first_start(day: date, anchor_day: int) -> date:
    """Return the first day from `day` on at which a period begins."""
    if day.day <= anchor_day:
        return day.replace(day=anchor_day)
    year, month = divmod(day.year * 12 + day.month, 12)
    return date(year, month + 1, anchor_day)


def _subscribers(catalog: Catalog, key: PlanKey, effective: date) -> list[str]:
    at_us = day_start_us(effective.isoformat())
    return sorted(
        each.customer
        for subscriptions in catalog.subscriptions.values()
        for each in subscriptions
        if (each.plan.id, each.plan.version) == key
        and each.start_us <= at_us
        and (each.end_us is None or at_us < each.end_us)
    )


def _edit(texts: dict[str, str], new: Sequence[YamlFile], old: Sequence[YamlFile], made: Migration) -> None:
    """Give the edited version its new number, and put the old one before it."""
    row, was = _plan_row(new, made.old), _plan_row(old, made.old)
    source = Path(was.file.name).read_text(encoding="utf-8-sig")
    text = replace_scalar(texts[row.file.name], row.file, (*row.path, "version"), str(made.new.version))
    texts[row.file.name] = insert_before(text, row, was, source, f"From {made.effective} on.")


def _plan_row(files: Sequence[YamlFile], plan: Plan) -> Row:
    return next(row for row in rows_of(files, "plans") if plan_key(row) == (plan.id, plan.version))


def _with_rows(texts: dict[str, str], rows: Sequence[str]) -> dict[str, str]:
    """Return the files with rows added to `migrations`, where they are or at the end of the last file."""
    name = next((name for name, text in texts.items() if "migrations" in _root(text)), list(texts)[-1])
    text = texts[name]
    for row in rows:
        text = append_item(text, name, "migrations", row)
    return {**texts, name: text}


def _root(text: str) -> dict[str, Any]:
    root: Any = yaml.safe_load(text)
    return root if isinstance(root, dict) else {}


def faults_of_result(result: Catalog, made: Sequence[Migration]) -> list[Fault]:
    """Return what the edited text got wrong: nothing, unless a file is laid out in a way that nobody thought of."""
    faults = []
    for each in made:
        for plan in (each.old, each.new):
            if result.plans.get((plan.id, plan.version)) != plan:
                message = f"version {plan.version} of {plan.id} did not come out as it should"
                faults.append(Fault("", 0, 0, "plans", message, "write the migration by hand"))
    return faults

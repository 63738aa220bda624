"""Checks that whatever a catalog refers to exists, and that nothing has two rows (R4.1)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipeline.catalog.faults import Fault, Path, shown, suggestion
from pipeline.catalog.positions import YamlFile
from pipeline.catalog.rows import Row, plan_key, rows_of

_NAMED_SECTIONS = ("models", "builders", "apps", "customers", "deployments")
_NAMED_PARTS = ("allowances", "surcharges", "budgets")


def reference_faults(files: Sequence[YamlFile]) -> list[Fault]:
    """Return the faults of unknown references and of rows with the id of another."""
    return [*_unknown_references(files), *_unknown_versions(files), *_repeated_rows(files)]


def _unknown_references(files: Sequence[YamlFile]) -> Iterator[Fault]:
    builders, apps, customers = (_ids(files, section) for section in ("builders", "apps", "customers"))
    for row in rows_of(files, "apps"):
        yield from _unknown(row, ("builder",), row.text("builder"), builders)
    for row in rows_of(files, "deployments"):
        yield from _unknown(row, ("customer",), row.text("customer"), customers)
        yield from _unknown(row, ("app",), row.text("app"), apps)
    for row in rows_of(files, "plans"):
        yield from _unknown(row, ("app",), row.text("app"), apps)
    for row in rows_of(files, "subscriptions"):
        yield from _unknown(row, ("customer",), row.text("customer"), customers)
    for row in rows_of(files, "migrations"):
        for index, customer in row.texts("customers"):
            yield from _unknown(row, ("customers", index), customer, customers)


def _unknown_versions(files: Sequence[YamlFile]) -> Iterator[Fault]:
    versions: dict[str, set[int]] = {}
    for row in rows_of(files, "plans"):
        if (key := plan_key(row)) is not None:
            versions.setdefault(key[0], set()).add(key[1])
    for row in rows_of(files, "subscriptions"):
        yield from _unknown(row, ("plan",), row.text("plan"), versions)
        yield from _unknown_version(row, "version", versions)
    for row in rows_of(files, "migrations"):
        yield from _unknown(row, ("plan",), row.text("plan"), versions)
        yield from _unknown_version(row, "from", versions)
        yield from _unknown_version(row, "to", versions)


def _unknown(row: Row, steps: Path, name: str | None, known: Iterable[str]) -> Iterator[Fault]:
    if name is not None and name not in known:
        kind = steps[0] if len(steps) == 1 else "customer"
        yield row.fault(steps, f"there is no {kind} {shown(name)}", suggestion(name, known))


def _unknown_version(row: Row, key: str, versions: dict[str, set[int]]) -> Iterator[Fault]:
    plan, version = row.text("plan"), row.whole(key)
    if plan in versions and version is not None and version not in versions[plan]:
        known = ", ".join(map(str, sorted(versions[plan])))
        yield row.fault((key,), f"plan {plan} has no version {version}", f"it has {known}")


def _ids(files: Sequence[YamlFile], section: str) -> set[str]:
    return {name for row in rows_of(files, section) if (name := row.text("id")) is not None}


def _repeated_rows(files: Sequence[YamlFile]) -> Iterator[Fault]:
    for section in _NAMED_SECTIONS:
        yield from _repeated((row, row.text("id")) for row in rows_of(files, section))
    plans = list(rows_of(files, "plans"))
    yield from _repeated((row, plan_key(row)) for row in plans)
    for plan in plans:
        for part in _NAMED_PARTS:
            yield from _repeated((row, row.text("id")) for row in plan.rows(part))


def _repeated(named: Iterable[tuple[Row, Any]]) -> Iterator[Fault]:
    first: dict[Any, Row] = {}
    for row, name in named:
        if name is None:
            continue
        if name in first:
            what = shown(name) if isinstance(name, str) else f"{shown(name[0])} version {name[1]}"
            yield row.fault(("id",), f"{what} is taken by {first[name].place()}", "give each row a name of its own")
        else:
            first[name] = row

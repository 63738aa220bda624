"""What differs between two catalogs, in a stable order and in the words of those who pay."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pipeline.catalog.build import build_catalog
from pipeline.catalog.diff_plans import plan_changes
from pipeline.catalog.diff_words import amount, percent
from pipeline.catalog.positions import YamlFile
from pipeline.catalog.rows import Row, rows_of
from pipeline.domain.catalog import Catalog, Deployment, Model, Plan

Kind = Literal["added", "removed", "changed"]
_TOKENS_PER_PRICE = 10**6
_SECTIONS = frozenset(
    ("models", "builders", "apps", "customers", "deployments", "plans", "subscriptions", "migrations", "currency",
     "platform_fee_percent")
)  # fmt: skip


class Change(NamedTuple):
    """One difference."""

    section: str
    """Of the catalog file, such as plans."""
    id: str
    kind: Kind
    details: tuple[str, ...] = ()
    """What changes, a sentence each."""


def catalog_changes(old_files: Sequence[YamlFile], new_files: Sequence[YamlFile]) -> list[Change]:
    """Return the differences between two catalogs without faults: settings, plans, models, parties, contracts."""
    old, new = build_catalog(old_files), build_catalog(new_files)
    return [
        *_settings(old, new),
        *_others(old_files, new_files),
        *_plans(old, new),
        *_compared("models", old.models, new.models, _model_details),
        *_compared("builders", old.builders, new.builders, _renamed),
        *_compared("apps", _owners(old), _owners(new), _owner_details),
        *_compared("customers", old.customers, new.customers, _renamed),
        *_compared("deployments", old.deployments, new.deployments, _deployment_details),
        *_compared("subscriptions", _subscriptions(old_files), _subscriptions(new_files), _end_details),
        *_compared("migrations", _migrations(old_files), _migrations(new_files), _migration_details),
    ]


def _settings(old: Catalog, new: Catalog) -> Iterator[Change]:
    if old.currency != new.currency:
        yield Change("currency", "", "changed", (f"{new.currency}, until then {old.currency}",))
    before, after = old.platform_fee_percent_pico, new.platform_fee_percent_pico
    if before != after:
        yield Change("platform_fee_percent", "", "changed", (f"{percent(after)}, until then {percent(before)}",))


def _others(old: Sequence[YamlFile], new: Sequence[YamlFile]) -> Iterator[Change]:
    """Yield the settings that nobody here knows more of."""
    before, after = ({key: value for file in files for key, value in file.root.items()} for files in (old, new))
    for key in sorted((before.keys() | after.keys()) - _SECTIONS):
        if before.get(key) != after.get(key):
            yield Change(key, "", "changed", (f"{after.get(key, 'absent')}, until then {before.get(key, 'absent')}",))


def _plans(old: Catalog, new: Catalog) -> Iterator[Change]:
    for key in sorted(old.plans.keys() | new.plans.keys()):
        name = f"{key[0]} version {key[1]}"
        before, after = old.plans.get(key), new.plans.get(key)
        if after is None:
            yield Change("plans", name, "removed")
        elif before is None:
            yield Change("plans", name, "added", _against_former(new, after))
        elif before != after:
            yield Change("plans", name, "changed", tuple(plan_changes(before, after)) or ("rows that never count",))


def _against_former(catalog: Catalog, plan: Plan) -> tuple[str, ...]:
    """Return what a new version changes against the one before it."""
    former = [version for name, version in catalog.plans if name == plan.id and version < plan.version]
    if not former:
        return ()
    changes = plan_changes(catalog.plans[plan.id, max(former)], plan) or ["nothing changes"]
    return tuple(f"against version {max(former)}: {change}" for change in changes)


def _compared(section: str, old: Mapping[str, Any], new: Mapping[str, Any], details: Any) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield Change(section, name, "removed")
        elif name not in old:
            yield Change(section, name, "added", tuple(details(None, new[name])))
        elif old[name] != new[name]:
            yield Change(section, name, "changed", tuple(details(old[name], new[name])))


def _model_details(old: Model | None, new: Model) -> Iterator[str]:
    for noun, key in (("input", "input_pico"), ("cached input", "cached_input_pico"), ("output", "output_pico")):
        after = amount(getattr(new, key) * _TOKENS_PER_PRICE)
        if old is None:
            yield f"{noun} {after} per million tokens"
        elif getattr(old, key) != getattr(new, key):
            yield f"{noun} {after} per million tokens, until then {amount(getattr(old, key) * _TOKENS_PER_PRICE)}"
    for noun, key in (("provider", "provider"), ("class", "model_class")):
        if old is None:
            yield f"{noun} {getattr(new, key)}"
        elif getattr(old, key) != getattr(new, key):
            yield f"{noun} {getattr(new, key)}, until then {getattr(old, key)}"


def _renamed(old: str | None, new: str) -> Iterator[str]:
    yield f"name {new}" + (f", until then {old}" if old is not None else "")


def _owners(catalog: Catalog) -> dict[str, str]:
    return {app.id: app.builder for app in catalog.apps.values()}


def _owner_details(old: str | None, new: str) -> Iterator[str]:
    yield f"builder {new}" + (f", until then {old}" if old is not None else "")


def _deployment_details(old: Deployment | None, new: Deployment) -> Iterator[str]:
    for key in ("customer", "app"):
        if old is None or getattr(old, key) != getattr(new, key):
            yield f"{key} {getattr(new, key)}" + (f", until then {getattr(old, key)}" if old is not None else "")
    if old is None or old.air_gapped != new.air_gapped:
        yield "air-gapped" if new.air_gapped else "connected"


def _subscriptions(files: Iterable[YamlFile]) -> dict[str, str]:
    """Return the end of each subscription as it was signed; the day after the last, or open."""
    found = {}
    for row in rows_of(files, "subscriptions"):
        value = row.value
        name = f"{value['customer']} on {value['plan']} version {value['version']} from {row.text('start')}"
        found[name] = row.text("end") or "open"
    return found


def _end_details(old: str | None, new: str) -> Iterator[str]:
    after = "without an end" if new == "open" else f"until {new}"
    yield after if old is None else f"{after}; before, {'without an end' if old == 'open' else f'until {old}'}"


def _migrations(files: Iterable[YamlFile]) -> dict[str, tuple[str, int]]:
    """Return customers and days of notice of each migration."""
    found: dict[str, tuple[str, int]] = {}
    for row in rows_of(files, "migrations"):
        value = row.value
        name = f"{value['plan']} from version {value['from']} to {value['to']} on {row.text('effective')}"
        found[_unused(found, name)] = (_customers(row), value.get("notice_days", 0))
    return found


def _unused(found: Mapping[str, Any], name: str) -> str:
    """Return a name that is not taken: two migrations of a day may move different customers."""
    number = 2
    whole = name
    while whole in found:
        whole, number = f"{name} ({number})", number + 1
    return whole


def _customers(row: Row) -> str:
    return row.text("customers") or ", ".join(sorted(text for _, text in row.texts("customers")))


def _migration_details(old: tuple[str, int] | None, new: tuple[str, int]) -> Iterator[str]:
    if old is None or old[0] != new[0]:
        yield f"customers: {new[0]}" + (f"; until then {old[0]}" if old is not None else "")
    if old is None or old[1] != new[1]:
        yield f"{new[1]} days of notice" + (f", until then {old[1]}" if old is not None else "")

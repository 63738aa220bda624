"""One simulation, step by step: what was in force, what changes, then each customer from lines or from the log."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Literal

from clickhouse_connect.driver.client import Client

from pipeline.billing.simulate import (
    customers_of_unclear_cost,
    parts_of,
    read_customers,
    read_histories,
    read_line_versions,
    read_periods,
    read_versions_of_lines,
)
from pipeline.billing.simulate_pool import simulate_parts
from pipeline.catalog import CatalogError, read_catalog
from pipeline.catalog.build import build_catalog
from pipeline.catalog.document import read_document
from pipeline.catalog.migrate_early import EarlyMove, bring_forward
from pipeline.catalog.positions import YamlFile
from pipeline.cli.audit_log import LogError, Offsets
from pipeline.cli.progress import progress_bar
from pipeline.cli.simulate_log import Rated, Task, rate_log, read_ends, read_grants
from pipeline.domain.catalog import Catalog
from pipeline.domain.grants import Grant
from pipeline.domain.instants import day_start_us
from pipeline.domain.periods import period_at
from pipeline.domain.resim import Bills, Simulation, Skipped, same_bills
from pipeline.domain.resim_fit import Fit, repriced_models
from pipeline.published import Versions, read_versions
from pipeline.rating.resim_log import Fingerprint
from pipeline.settings import Settings

Chosen = Literal["auto", "lines", "log"]
_NAMES_SHOWN_MAX = 8
_OTHER_LINES = (
    "its log does not give the lines that it has: some may be under way, or rated by a catalog that is not on "
    "billing.catalog; see `usage audit --rerate`"
)


class SimulationError(Exception):
    """A period cannot be simulated; the message says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be simulated."""

    catalog: Path
    published: Path | None
    period: date
    customers: tuple[str, ...]
    way: Chosen


@dataclass(slots=True)
class _Ground:
    """What a simulation stands on."""

    new: Catalog
    early: list[EarlyMove]
    old: dict[str, Catalog]
    """The catalogs that rated the period's lines, by the digest that the lines name."""
    known: dict[str, Catalog]
    """The same, and what --published gives for lines of other periods."""
    grants: Mapping[str, Sequence[Grant]]
    lines: list[tuple[str, int]]
    """Customers with lines in the period, and how many."""
    obstacles: dict[str, str] = field(default_factory=dict)
    """Customers whose lines do not say enough, and why."""


def run_simulation(settings: Settings, client: Client, wanted: Wanted) -> Simulation:
    """Simulate a period. Raises SimulationError, CatalogError, LogError, KafkaError, ClickHouseError, MovingError."""
    ground = _ground(settings, client, wanted)
    simulation = Simulation(wanted.period.isoformat(), ground.new.currency)
    simulation.notes += [_early_note(move, wanted.period) for move in ground.early]
    _find_obstacles(client, wanted, ground)
    idle = sorted(set(wanted.customers) - {name for name, _ in ground.lines})
    simulation.notes += [f"{name} has no lines in the period" for name in idle]
    if wanted.way == "log":
        ground.obstacles = {name: "asked for" for name, _ in ground.lines} | ground.obstacles
    old, obstacles = _from_lines(settings, ground, wanted, simulation)
    if obstacles and wanted.way != "lines":
        obstacles = _from_log(settings, client, ground, simulation, old, obstacles)
    with_lines = {name for name, _ in ground.lines}
    simulation.skipped = [Skipped(name, why) for name, why in sorted(obstacles.items()) if name in with_lines]
    return simulation


def _ground(settings: Settings, client: Client, wanted: Wanted) -> _Ground:
    files, faults = read_catalog(wanted.catalog)
    if faults:
        raise CatalogError(faults)
    period = wanted.period.isoformat()
    lines = read_customers(client, period, wanted.customers)
    if not lines:
        found = ", ".join(read_periods(client)) or "none at all"
        who = " of these customers" if wanted.customers else ""
        raise SimulationError(f"there are no lines{who} in a period {period}; periods with lines: {found}")
    digests = read_versions_of_lines(client, period, wanted.customers)
    versions = asyncio.run(read_versions(settings))
    old, known, reference = _in_force(versions, digests, wanted.published)
    new, early = bring_forward(files, reference, wanted.period)
    grants = asyncio.run(read_grants(settings, period_at(day_start_us(period), wanted.period.day)))
    return _Ground(new, early, old, known, grants, lines)


def _in_force(
    versions: Versions, digests: Sequence[str], published: Path | None
) -> tuple[dict[str, Catalog], dict[str, Catalog], list[YamlFile]]:
    """Return the catalogs of the period's lines, those and the given one, and the files against which NEW is new."""
    given: Catalog | None = None
    files: list[YamlFile] = []
    if published is not None:
        files, faults = read_catalog(published)
        if faults:
            raise CatalogError(faults)
        given = build_catalog(files)
    old: dict[str, Catalog] = {}
    for digest in digests:
        if digest in versions:
            old[digest] = versions.catalog(digest)
        elif given is not None and digest in ("", given.digest):
            old[digest] = given
        else:
            what = (
                f"by version {digest}, which is not on billing.catalog" if digest else "before they named their catalog"
            )
            raise SimulationError(f"lines of the period were rated {what}: give that catalog as --published OLD")
    if given is None:
        return old, old, [read_document(versions.document(digests[-1]))]
    return old, {given.digest: given, "": given} | old, files


def _early_note(move: EarlyMove, period: date) -> str:
    return (
        f"the migration of {move.plan} from version {move.from_version} to {move.to_version}, due on {move.effective}, is "
        f"taken to be in effect from {period} on"
    )


def _find_obstacles(client: Client, wanted: Wanted, ground: _Ground) -> None:
    """Find out whose lines do not say enough."""
    period = wanted.period.isoformat()
    bounds = period_at(day_start_us(period), wanted.period.day)
    named = wanted.customers or (*ground.new.customers, *(name for name, _ in ground.lines))
    for digest, catalog in ground.old.items():
        fit = Fit(catalog, ground.new, bounds)
        added = sorted(ground.new.models.keys() - catalog.models.keys())
        for customer in dict.fromkeys(named):
            reason = fit.obstacle(customer) if customer in catalog.customers else None
            if reason is None and added and wanted.way != "lines":
                reason = f"models are new ({_some(added)}): usage that had no price then would have one"
            if reason is not None:
                ground.obstacles.setdefault(customer, reason)
        for model, other in repriced_models(catalog, ground.new):
            unclear = customers_of_unclear_cost(client, period, wanted.customers, [digest], model, other)
            reason = f"the price of {model.id} changes, and lines do not say whether their cost was reported"
            ground.obstacles = dict.fromkeys(unclear, reason) | ground.obstacles


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN_MAX]) + (" ..." if len(names) > _NAMES_SHOWN_MAX else "")


def _from_lines(
    settings: Settings, ground: _Ground, wanted: Wanted, simulation: Simulation
) -> tuple[Bills, dict[str, str]]:
    """Rate lines; return the bills of the others as they are, and why those cannot be rated from lines."""
    parts = parts_of(simulation.period, ground.lines, **({"lines_max": 1} if wanted.customers else {}))
    obstacles = dict(ground.obstacles)
    left: Bills = {}
    with progress_bar("lines") as progress:
        task = progress.add_task("from lines", total=sum(count for _, count in ground.lines))
        advance = partial(progress.advance, task)
        for result in simulate_parts(settings, parts, ground.new, ground.grants, frozenset(ground.obstacles), advance):
            obstacles |= {name: why for name, why in result.obstacles.items() if name not in obstacles}
            done = {key: bill for key, bill in result.old.items() if key[0] not in obstacles}
            simulation.take(done, result.new, "lines")
            left |= {key: bill for key, bill in result.old.items() if key[0] in obstacles}
    return left, obstacles


def _from_log(
    settings: Settings,
    client: Client,
    ground: _Ground,
    simulation: Simulation,
    stored: Bills,
    obstacles: Mapping[str, str],
) -> dict[str, str]:
    """Rate customers from the log; return why those cannot be that are left.

    Once by the timestamps of grants; and where that makes other lines than there are, because a grant came late, once more
    with each grant where the lines say.
    """
    try:
        ends: Offsets = asyncio.run(read_ends(settings))
    except LogError as error:
        return {name: f"{why}; and not from the log either: {error}" for name, why in obstacles.items()}
    known = read_histories(client, obstacles)
    histories = {name: history for name, (history, _) in known.items()}
    left: dict[str, str] = {}
    for again in (False, True):
        if again:
            for name, history in histories.items():
                history.versions = read_line_versions(client, name)
        task = Task(histories, ground.known, ground.new, simulation.period, ends)
        left = {}
        rated = _rated_log(settings, task, "from the log, once more" if again else "from the log")
        for name in sorted(histories):
            found = rated.get(name, Rated({}, {}, Fingerprint()))
            mine = {key: bill for key, bill in stored.items() if key[0] == name}
            if found.fault is not None:
                left[name] = found.fault
            elif found.fingerprint != known[name][1] or not same_bills(found.old, mine):
                left[name] = _OTHER_LINES
            else:
                simulation.take(mine, found.new, "log")
                simulation.from_log[obstacles[name]] += bool(mine or found.new)
        histories = {name: histories[name] for name in left}
        if not histories:
            break
    return left


def _rated_log(settings: Settings, task: Task, title: str) -> dict[str, Rated]:
    rated: dict[str, Rated] = {}
    with progress_bar("records") as progress:
        number = progress.add_task(title, total=sum(task.ends.values()))
        for found in rate_log(settings, task, partial(progress.advance, number)):
            rated |= found
    return rated

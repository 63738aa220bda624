"""Bills under another catalog, from the log and from lines, are those that a real rating makes."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline.catalog import load_catalog, read_catalog
from pipeline.catalog.migrate_early import bring_forward
from pipeline.codec.records import decode_billing
from pipeline.domain.catalog import Catalog
from pipeline.domain.grants import Grant
from pipeline.domain.instants import day_start_us, parse_instant
from pipeline.domain.lines import Line
from pipeline.domain.periods import period_at
from pipeline.domain.records import GRANTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from pipeline.domain.resim import Bills, Sums, bill_of
from pipeline.domain.resim_fit import Fit
from pipeline.rating.offline import OfflineRating
from pipeline.rating.resim_lines import KINDS, LATE, LineRating, Rows, ShapeOf
from pipeline.rating.resim_log import History, LogRating
from tests.model.case_catalog import make_plan
from tests.rating.support import case, write_catalog

SEEDS = range(5)


def rated(catalog: Catalog, records: Iterable[Record]) -> list[Line]:
    rating = OfflineRating(catalog)
    return [line for record in records for line in rating.rate(record).lines]


def bills_of(lines: Iterable[Line], period: str) -> Bills:
    bills: Bills = {}
    for line in lines:
        if line.period == period:
            bill = bill_of(bills, line.customer, line.app)
            bill.builder = line.builder
            bill.plans.add((line.plan, line.plan_version))
            row = bill.row(line.feature, line.unit)
            row.add(Sums(1, line.overage, line.blocked, line.charge_pico, line.builder_earnings_pico))
    return bills


def periods_of(lines: Iterable[Line], plain: dict[str, Any]) -> list[str]:
    """Return the periods, without those at whose start the catalog has a migration already."""
    return sorted({line.period for line in lines} - {str(row["effective"]) for row in plain["migrations"]})


def migrated(seed: int, plain: dict[str, Any], effective: str, *, gentle: bool) -> dict[str, Any]:
    """Return a catalog in which plans get another version, to which everyone on some version moves on a day.

    When `gentle`, the new version changes nothing that lines do not hold.
    """
    rng = Random(seed)
    plans, migrations = list(plain["plans"]), list(plain["migrations"])
    for plan in [each for each in plain["plans"] if each["version"] == 1 or rng.random() < 0.5]:
        other = make_plan(rng, plan["app"], plan["id"].partition("-")[2], plan["version"] + 10)
        for key in ("anchor_day", "grace_hours", "environments") if gentle else ("anchor_day",):
            other.pop(key, None)
            other |= {key: plan[key]} if key in plan else {}
        plans.append(other)
        row = {"plan": plan["id"], "from": plan["version"], "to": other["version"], "effective": effective}
        migrations.append(row | {"customers": "all", "notice_days": 30})
    return plain | {"plans": plans, "migrations": migrations}


def saved(tmp_path: Path, name: str, plain: dict[str, Any]) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return write_catalog(folder, plain)


@pytest.mark.rule("R4.3", "R8.1")
@pytest.mark.parametrize("seed", SEEDS)
def test_the_log_under_a_migration_gives_the_bills_that_the_migration_makes(seed: int, tmp_path: Path) -> None:
    """For every period: a migration that is brought forward to its start makes the bills of a real rating with it."""
    made = case(seed)
    old_path = saved(tmp_path, "old", made.plain_catalog)
    old = load_catalog(old_path)
    before = rated(old, made.records)
    for number, period in enumerate(Random(seed).sample(periods_of(before, made.plain_catalog), 2)):
        new = saved(tmp_path, f"new{number}", migrated(seed, made.plain_catalog, "2031-05-01", gentle=False))
        real = load_catalog(saved(tmp_path, f"real{number}", migrated(seed, made.plain_catalog, period, gentle=False)))
        early, moves = bring_forward(read_catalog(new)[0], read_catalog(old_path)[0], date.fromisoformat(period))

        was, would_be = from_log(old, early, period, made.records)

        assert moves
        assert was == bills_of(before, period)
        assert would_be == bills_of(rated(real, made.records), period)


def from_log(old: Catalog, new: Catalog, period: str, records: Iterable[Record]) -> tuple[Bills, Bills]:
    """Return the bills of all customers, each rated by itself."""
    ratings: dict[bytes | None, LogRating] = {}
    for record in records:
        if record.key not in ratings:
            ratings[record.key] = LogRating({}.__getitem__, old, new, period, History())
        ratings[record.key].rate(record)
    was: Bills = {}
    would_be: Bills = {}
    for rating in ratings.values():
        was |= rating.old
        would_be |= rating.new
    return was, would_be


def grants_in(records: Iterable[Record]) -> dict[str, list[Grant]]:
    found: dict[str, list[Grant]] = {}
    for record in records:
        if record.topic != GRANTS_TOPIC:
            continue
        try:
            grant = decode_billing(record)
        except Rejected:
            continue
        if isinstance(grant, Grant):
            found.setdefault(grant.customer, []).append(grant)
    return found


def rows_of(lines: Sequence[Line]) -> tuple[Rows, dict[int, ShapeOf]]:
    numbers: dict[ShapeOf, int] = {}
    columns: list[tuple[int, ...]] = []
    for line in sorted(lines, key=lambda line: (line.customer, line.seq)):
        shape = (line.source, line.environment, line.workspace, line.feature, line.model, line.unit)
        number = numbers.setdefault(ShapeOf(line.customer, line.app, shape), len(numbers))
        code = KINDS.index(line.kind) + LATE * line.late
        columns.append((number, parse_instant(line.posted_at), line.quantity, line.cost_pico, code))
    return Rows(*zip(*columns, strict=True)), {number: of for of, number in numbers.items()}


def from_lines(lines: Sequence[Line], new: Catalog, grants: Mapping[str, Sequence[Grant]]) -> LineRating:
    rating = LineRating(new, grants)
    rows, shapes = rows_of(lines)
    rating.expect(shapes)
    rating.rate(rows)
    return rating


@pytest.mark.rule("R4.3", "R6.4", "R6.5", "R6.7", "R6.9")
def test_lines_under_a_migration_give_the_bills_that_the_migration_makes(tmp_path: Path) -> None:
    """Whose lines say enough has the bills of a real rating; and that is the case for many customers."""
    simulated = left = 0
    for seed in SEEDS:
        made = case(seed)
        before = rated(made.catalog, made.records)
        for period in periods_of(before, made.plain_catalog):
            plain = migrated(seed, made.plain_catalog, period, gentle=True)
            real = load_catalog(saved(tmp_path, f"real{seed}-{period}", plain))
            fit = Fit(made.catalog, real, period_at(day_start_us(period), date.fromisoformat(period).day))
            mine = [each for each in before if each.period == period and fit.obstacle(each.customer) is None]
            if not mine:
                continue

            rating = from_lines(mine, real, grants_in(made.records))

            obstacles = rating.obstacles()
            wanted = bills_of(rated(real, made.records), period)
            fitting = {each.customer for each in mine} - obstacles.keys()
            assert rating.bills() == {key: bill for key, bill in wanted.items() if key[0] in fitting}
            simulated, left = simulated + len(fitting), left + len(obstacles)
    assert simulated > 10
    assert left > 10

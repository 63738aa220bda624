"""`usage simulate` on a journal in Kafka and its lines in ClickHouse, as a person meets it."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.catalog import load_catalog
from pipeline.cli.simulate import simulate_command
from pipeline.domain.money import format_cents
from tests.billing.audit_fixtures import EVENTS, SEED, feeding
from tests.billing.audit_support import Audited
from tests.model.cases import make_case
from tests.rating.support import rate_offline, records_of, write_catalog
from tests.rating.test_resim import migrated

pytest_plugins = ["tests.billing.audit_fixtures"]


def simulate(audited: Audited, catalog: Path, *arguments: str, code: int = 0) -> Result:
    servers = ["--kafka", audited.kafka, "--clickhouse", audited.clickhouse]
    fixed = ["--catalog", str(catalog), "--period", audited.period(), "--published", str(audited.catalog)]
    done = CliRunner().invoke(simulate_command, [*fixed, *servers, *arguments])
    assert done.exit_code == code, done.output
    return done


def saved(folder: Path, plain: dict[str, Any]) -> Path:
    folder.mkdir()
    return write_catalog(folder, plain)


def bills_under(catalog: Path, period: str) -> dict[tuple[str, str], str]:
    """Return what a real rating of the journal makes."""
    _, entries = make_case(SEED, events=EVENTS)
    entries.sort(key=lambda entry: entry["ts"])
    for number, entry in enumerate(entries):
        entry["ts"] += number
    made = rate_offline(load_catalog(catalog), records_of(entries))
    return {(one["customer"], one["app"]): one["total"] for one in made.statements if one["period"] == period}


def found(done: Result, side: str) -> dict[tuple[str, str], str]:
    return {(bill["customer"], bill["app"]): bill[side] for bill in json.loads(done.stdout)["bills"]}


@pytest.mark.rule("R4.3", "R8.1", "R5.4")
@pytest.mark.parametrize("gentle", [True, False], ids=["from lines", "from the log"])
def test_a_plan_change_simulated_makes_the_bills_that_it_then_makes(
    audited: Audited,
    tmp_path: Path,
    *,
    gentle: bool,
) -> None:
    """Old and new bill of every customer are those of real ratings, whichever way they are rated."""
    plain = yaml.safe_load(audited.catalog.read_text())
    announced = saved(tmp_path / "new", migrated(SEED, plain, "2031-05-01", gentle=gentle))
    effective = saved(tmp_path / "real", migrated(SEED, plain, audited.period(), gentle=gentle))

    done = simulate(audited, announced, "--format", "json")

    assert found(done, "old") == bills_under(audited.catalog, audited.period())
    assert found(done, "new") == bills_under(effective, audited.period())
    ways = {bill["from"] for bill in json.loads(done.stdout)["bills"]}
    assert ways >= ({"lines", "log"} if gentle else {"log"})


def test_the_catalog_in_force_changes_nothing(audited: Audited) -> None:
    """Under the same catalog every new bill is the old one, from lines and from the log alike."""
    report = json.loads(simulate(audited, audited.catalog, "--format", "json").stdout)

    assert {bill["from"] for bill in report["bills"]} == {"lines", "log"}
    assert all(bill["difference_pico"] == 0 for bill in report["bills"])
    assert report["difference"] == "0.00"
    assert report["paying_more"] == []


@pytest.mark.rule("R2.5")
@pytest.mark.usefixtures("store")
def test_grants_that_came_late_stand_where_the_lines_say(clickhouse: str, tmp_path: Path) -> None:
    """A log whose grants were applied later than their timestamps say still gives every bill."""
    with feeding(clickhouse, tmp_path, EVENTS // 2, grants_late_ms=36 * 3_600_000) as late:
        late.fill()

        report = json.loads(simulate(late, late.catalog, "--way", "log", "--format", "json").stdout)

    assert report["bills"]
    assert report["not_simulated"] == []
    assert all(bill["difference_pico"] == 0 for bill in report["bills"])


def test_who_cannot_be_simulated_from_lines_is_named(audited: Audited) -> None:
    """With lines only, customers who need the log have no new bill but a reason, and the exit code says so."""
    done = simulate(audited, audited.catalog, "--way", "lines", "--format", "csv", code=3)

    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    left = [row for row in rows if row["from"] == "none"]
    assert left
    assert all("wallet" in row["reason"] or "grants" in row["reason"] or "late" in row["reason"] for row in left)
    assert all(row["old"] == row["new"] for row in rows if row["from"] == "lines")


def test_a_price_that_lines_do_not_prove_is_never_guessed(audited: Audited, tmp_path: Path) -> None:
    """When a model's price changes, whose cost may have been worked out is rated from the log."""
    plain = yaml.safe_load(audited.catalog.read_text())
    for model in plain["models"]:
        model["input"] = "9.5"
    new = saved(tmp_path / "new", plain)

    report = json.loads(simulate(audited, new, "--format", "json").stdout)

    assert {bill["from"] for bill in report["bills"] if bill["difference_pico"]} == {"log"}


def test_the_table_says_who_pays_more_and_how_it_was_rated(audited: Audited, tmp_path: Path) -> None:
    """The table marks what grows, gives totals and builders, and names what the log was needed for."""
    plain = yaml.safe_load(audited.catalog.read_text())
    new = saved(tmp_path / "new", migrated(SEED, plain, "2031-05-01", gentle=False))

    text = simulate(audited, new, "--more-than", "5").stdout

    assert f"{text.count(chr(10) + '! ')} bills grow by more than 5 %" in text
    assert "is taken to be in effect from" in text
    assert "northwind" in text
    assert "rated from the log in Kafka" in text


def test_a_period_without_lines_is_named_with_those_that_have_some(audited: Audited) -> None:
    """A typing error in the period is answered with the periods that there are."""
    done = CliRunner().invoke(
        simulate_command,
        ["--catalog", str(audited.catalog), "--period", "2020-01-01", "--clickhouse", audited.clickhouse],
    )

    assert done.exit_code == 1
    assert f"periods with lines: {max(line['period'] for line in audited.lines)}" in done.output
    assert format_cents(0) not in done.output

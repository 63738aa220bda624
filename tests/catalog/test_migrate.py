"""`usage catalog migrate`: an edit in place becomes a new version with a migration."""

from datetime import date
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.catalog import check_published, load_catalog
from pipeline.catalog.load import read_catalog
from pipeline.catalog.migrate_early import bring_forward
from pipeline.cli.catalog import catalog_group
from pipeline.domain.instants import day_start_us
from tests.catalog.test_diff import EXAMPLE, edited

TODAY = date(2026, 11, 24)
CHEAPER = ("included: 300, alerts", "included: 250, alerts")
DEARER = ('{match: {unit: [document]}, price: "0.55"}', '{match: {unit: [document]}, price: "0.60"}')


def migrate(old: Path, new: Path, out: Path, *arguments: str) -> Result:
    fixed = ["migrate", str(old), str(new), "--out", str(out), "--today", TODAY.isoformat()]
    return CliRunner().invoke(catalog_group, [*fixed, *arguments])


@pytest.mark.rule("R4.3")
def test_the_published_version_stays_and_the_edit_moves_its_customers_after_the_notice(tmp_path: Path) -> None:
    """The result passes the check against what is published; each plan moves at the start of one of its own periods."""
    new, out = edited(tmp_path, CHEAPER, DEARER), tmp_path / "out.yaml"

    done = migrate(EXAMPLE, new, out)

    assert done.exit_code == 0, done.output
    assert check_published(out, EXAMPLE, TODAY) == []
    old, edit, result = load_catalog(EXAMPLE), load_catalog(new), load_catalog(out)
    for plan, day in (("docflow-business", "2027-01-01"), ("docflow-payg", "2027-01-15")):
        assert result.plans[plan, 1] == old.plans[plan, 1]
        assert result.plans[plan, 2].prices == edit.plans[plan, 1].prices
        assert result.plans[plan, 2].allowances == edit.plans[plan, 1].allowances
        customer = {"docflow-business": "acme", "docflow-payg": "granite"}[plan]
        for instant_us, version in ((day_start_us(day) - 1, 1), (day_start_us(day), 2)):
            found = result.plan_at(customer, "docflow", instant_us)
            assert found is not None
            assert found.version == version


def test_what_was_written_by_hand_stays(tmp_path: Path) -> None:
    """Every line of the edited file but the changed number is in the result, comments too, in the same order."""
    new, out = edited(tmp_path, CHEAPER), tmp_path / "out.yaml"

    migrate(EXAMPLE, new, out)

    rest = iter(out.read_text().splitlines())
    assert [line for line in EXAMPLE.read_text().splitlines() if line not in rest] == []


def test_customers_are_told_what_changes_and_from_when(tmp_path: Path) -> None:
    """The report has a notice for each customer who is moved, by name, in sentences."""
    done = migrate(EXAMPLE, edited(tmp_path, CHEAPER), tmp_path / "out.yaml", "--customer", "acme")

    assert "## Acme Manufacturing GmbH (acme)" in done.stdout
    assert "bluepeak" not in done.stdout
    assert "From 2027-01-01 on, your plan docflow-business for docflow changes." in done.stdout
    assert "- Included documents: 250 documents a period; until then 300 documents a period." in done.stdout


def test_a_plan_in_another_layout_is_written_anew(tmp_path: Path) -> None:
    """Files that a program wrote, block style throughout, come out right too, and so does a folder."""
    folder, old = tmp_path / "new", tmp_path / "old.yaml"
    folder.mkdir()
    whole = yaml.safe_load(EXAMPLE.read_text())
    old.write_text(yaml.safe_dump(whole, sort_keys=False))
    plan = next(each for each in whole["plans"] if each["id"] == "docflow-payg")
    plan["prices"][0]["price"] = "0.60"
    plans = {"plans": whole.pop("plans")}
    del whole["migrations"]
    whole["subscriptions"] = [each for each in whole["subscriptions"] if each["plan"] != "helpdesk-team"]
    (folder / "plans.yaml").write_text(yaml.safe_dump(plans))
    (folder / "rest.yaml").write_text(yaml.safe_dump(whole))
    text = yaml.safe_load(EXAMPLE.read_text())
    text["subscriptions"] = whole["subscriptions"]
    del text["migrations"]
    old.write_text(yaml.safe_dump(text, sort_keys=False))

    done = migrate(old, folder, tmp_path / "out")

    assert done.exit_code == 0, done.output
    assert check_published(tmp_path / "out", old, TODAY) == []
    assert load_catalog(tmp_path / "out").plans["docflow-payg", 2].prices[0].tiers[0].price_pico == 6 * 10**11


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--effective", "2026-12-01"], "the earliest start of a period is 2027-01-01"),
        (["--effective", "2027-01-02"], "is no start of a billing period"),
        (["--customer", "granite"], "granite: not on docflow-business version 1"),
    ],
)
def test_a_day_or_customer_that_cannot_be_is_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    """Nothing is written when the notice is too short, the day no period's first, or the customer on another plan."""
    out = tmp_path / "out.yaml"

    done = migrate(EXAMPLE, edited(tmp_path, CHEAPER), out, *arguments)

    assert done.exit_code == 1
    assert message in done.output
    assert not out.exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """An --out that is there already is left alone, the input included."""
    new = edited(tmp_path, CHEAPER)
    before = new.read_text()

    done = migrate(EXAMPLE, new, new)

    assert done.exit_code == 1
    assert new.read_text() == before


def test_a_catalog_without_altered_versions_needs_no_migration(tmp_path: Path) -> None:
    """Another price of a model is no change of a published plan."""
    done = migrate(EXAMPLE, edited(tmp_path, ('input: "0.25"', 'input: "0.30"')), tmp_path / "out.yaml")

    assert done.exit_code == 1
    assert "nothing has to be migrated" in done.output


@pytest.mark.rule("R4.3")
def test_only_new_migrations_are_brought_forward(tmp_path: Path) -> None:
    """A migration that was published keeps its day; one that was not takes effect with the period, for whoever is there."""
    row = "  - {plan: docflow-payg, from: 1, to: 2, effective: 2027-01-15, customers: all, notice_days: 30}"
    migrate(EXAMPLE, edited(tmp_path, DEARER), tmp_path / "out.yaml")

    catalog, early = bring_forward(read_catalog(tmp_path / "out.yaml")[0], read_catalog(EXAMPLE)[0], date(2026, 10, 15))

    assert row in (tmp_path / "out.yaml").read_text()
    assert [(each.plan, each.effective) for each in early] == [("docflow-payg", "2027-01-15")]
    starts = [each.start_us for each in catalog.subscriptions["granite", "docflow"]]
    assert starts == [day_start_us("2023-01-01"), day_start_us("2026-10-15")]
    published = [each.start_us for each in catalog.subscriptions["acme", "helpdesk"]]
    assert published == [day_start_us("2023-01-01"), day_start_us("2025-01-01")]

"""`usage catalog check` prints faults, a summary, and says it by its exit code."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.catalog import check_catalog
from pipeline.cli.catalog import catalog_group
from tests.catalog.support import GOOD, edited, write


def run(*arguments: str | Path) -> Result:
    """Run `usage catalog check` with these arguments."""
    return CliRunner().invoke(catalog_group, ["check", *map(str, arguments)])


def test_a_sound_catalog_is_summed_up(tmp_path: Path) -> None:
    """Without faults the exit code is 0, stdout is empty and stderr counts what the catalog holds."""
    path = write(tmp_path, GOOD)

    result = run(path)

    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == (
        f"{path}: 4 plan versions, 2 apps, 2 customers, 2 deployments, 4 subscriptions, 2 models, no faults\n"
    )


def test_every_fault_is_a_line_of_stdout(tmp_path: Path) -> None:
    """With faults the exit code is 1 and each fault is one line."""
    path = write(tmp_path, edited(("included: 50}", "included: -1}"), ("failed: cost", "faild: cost")))

    result = run(path)

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [str(fault) for fault in check_catalog(path)]
    assert result.stderr == f"{path}: 2 faults\n"


@pytest.mark.parametrize("text", [GOOD, edited(("included: 50}", "included: -1}"))])
def test_json_is_a_list_of_faults(tmp_path: Path, text: str) -> None:
    """With --format json stdout is one list, empty without faults."""
    path = write(tmp_path, text)

    result = run(path, "--format", "json")

    assert json.loads(result.stdout) == [fault._asdict() for fault in check_catalog(path)]


@pytest.mark.rule("R4.3")
def test_published_versions_are_compared(tmp_path: Path) -> None:
    """With --published a changed version is refused and the migration is printed."""
    old = write(tmp_path, GOOD, "old.yaml")
    path = write(tmp_path, edited(("included: 50}", "included: 60}")))

    result = run(path, "--published", old)

    assert result.exit_code == 1
    day = datetime.now(UTC).date() + timedelta(days=30)
    assert f"{{plan: team, from: 1, to: 4, effective: {day}, customers: all, notice_days: 30}}" in result.stdout
    assert run(old, "--published", old).exit_code == 0


@pytest.mark.rule("R4.3")
def test_the_day_of_publishing_can_be_given(tmp_path: Path) -> None:
    """With --today the notice counts from that day; without --published it has no meaning and is refused."""
    old = write(tmp_path, GOOD, "old.yaml")
    path = write(tmp_path, edited(("effective: 2027-01-01", "effective: 2027-02-01")))

    in_time = run(path, "--published", old, "--today", "2027-01-02")
    too_late = run(path, "--published", old, "--today", "2027-01-03")

    assert run(path, "--today", "2027-01-02").exit_code == 2
    assert [in_time.exit_code, too_late.exit_code] == [1, 1]
    assert "is too early" not in in_time.stdout
    assert "2027-02-01 is too early for a migration that is published on 2027-01-03" in too_late.stdout
    assert "the earliest day is 2027-02-02" in too_late.stdout


def test_a_faulty_published_catalog_is_said(tmp_path: Path) -> None:
    """When the published catalog itself is unsound, its faults are shown and nothing is compared."""
    old = write(tmp_path, edited(("included: 50}", "included: -1}")), "old.yaml")

    result = run(write(tmp_path, GOOD), "--published", old)

    assert result.exit_code == 1
    assert "old.yaml" in result.stdout
    assert "nothing was compared" in result.stderr


def test_wrong_usage_exits_with_2() -> None:
    """Without a path, or with an unknown format, the exit code is 2."""
    assert run().exit_code == 2
    assert run("x.yaml", "--format", "xml").exit_code == 2

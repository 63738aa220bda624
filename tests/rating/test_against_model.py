"""The pipeline's rating equals the independent naive model's, and reproduces the worked examples."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.catalog import load_catalog
from pipeline.cli.rate import rate_command
from pipeline.codec.journal import parse_journal_line
from tests.model.compare import assert_same
from tests.model.naive import Result, rate
from tests.rating.support import CONFORMANCE, case, rate_offline, rated, write_catalog

SEEDS = int(os.environ.get("USAGE_MODEL_SEEDS", "40"))
CASES = ["case1", "case2", "case3"]


@pytest.mark.rule("R3.3", "R2.3", "R6.1", "R6.10", "R7.1", "R8.1")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_rating_equals_the_naive_model(seed: int) -> None:
    """For a generated case, lines, rejects, alerts and statements are those of the naive model."""
    wanted = rate(case(seed).plain_records, case(seed).plain_catalog)

    assert_same(wanted, rated(seed))


def example(name: str) -> Path:
    folder = CONFORMANCE / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: the worked examples are not part of the project")
    return folder


def read_result(folder: Path) -> Result:
    rows = {name: read_ndjson(folder / f"{name}.ndjson") for name in ("lines", "rejects", "alerts")}
    return Result(**rows, statements=json.loads((folder / "statements.json").read_text(encoding="utf-8")))


def read_ndjson(path: Path) -> list[dict]:
    return [json.loads(row) for row in path.read_bytes().splitlines()]


@pytest.mark.rule("R2.6", "R7.1", "R8.1")
@pytest.mark.parametrize("name", CASES)
def test_rating_reproduces_the_worked_example(name: str) -> None:
    """The rater gives the worked example's lines, rejects, alerts and statements."""
    folder = example(name)
    records = [parse_journal_line(line) for line in (folder / "journal.ndjson").read_bytes().splitlines()]

    got = rate_offline(load_catalog(folder / "catalog.yaml"), records)

    assert_same(read_result(folder / "expected"), got)


@pytest.mark.rule("R2.6", "R7.1", "R8.1")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("from_stdin", [False, True], ids=["file", "stdin"])
def test_the_command_reproduces_the_worked_example(name: str, *, from_stdin: bool, tmp_path: Path) -> None:
    """`usage rate` writes the worked example's files, statements.json to the byte, from a file and from a pipe."""
    folder = example(name)
    journal = folder / "journal.ndjson"
    arguments = ["-" if from_stdin else str(journal), "--catalog", str(folder / "catalog.yaml"), "--out", str(tmp_path)]

    result = CliRunner().invoke(rate_command, arguments, input=journal.read_bytes() if from_stdin else None)

    assert result.exit_code == 0, result.output
    expected = folder / "expected"
    assert_same(read_result(expected), read_result(tmp_path))
    assert (tmp_path / "statements.json").read_bytes() == (expected / "statements.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in expected.iterdir())


@pytest.mark.rule("R2.6")
def test_the_command_names_the_bad_line_of_a_journal(tmp_path: Path) -> None:
    """A line that is no record ends the command with its number, and no half-written file takes its name."""
    catalog, journal, out = (
        write_catalog(tmp_path, case(0).plain_catalog),
        tmp_path / "journal.ndjson",
        tmp_path / "out",
    )
    journal.write_bytes(json.dumps(case(0).plain_records[0]).encode() + b'\n\n{"topic": "usage.events"}\n')

    result = CliRunner().invoke(rate_command, [str(journal), "--catalog", str(catalog), "--out", str(out)])

    assert result.exit_code == 1
    assert "line 3: partition: must be an integer" in result.output
    assert list(out.iterdir()) == []

"""Tests of `usage statement --lines` and of what the command says about a statement's state."""

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from pipeline.cli.statement import statement_command
from pipeline.sink.rollups import refresh
from tests.sink.support import a_line, insert, priced

CATALOG = Path(__file__).resolve().parents[2] / "schemas" / "examples" / "catalog.yaml"
NOVEMBER = ("--customer", "acme", "--period", "2026-11-01")


@pytest.fixture
def filled(store: Client) -> Client:
    """Give tables with ten lines of two workspaces and two models, half of them rolled up."""
    lines = [
        a_line(
            "acme", seq, workspace="legal" if seq % 3 else "it", model=f"m{seq % 2}", **priced(10**12 + seq, seq * 7)
        )
        for seq in range(1, 11)
    ]
    insert(store, lines[:5])
    refresh(store)
    insert(store, lines[5:])
    return store


def statement(clickhouse: str, *arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(statement_command, [*NOVEMBER, *arguments, "--clickhouse", clickhouse])


@pytest.mark.rule("R8.1")
@pytest.mark.usefixtures("filled")
def test_the_lines_of_a_figure_sum_to_it_over_all_pages(clickhouse: str) -> None:
    """Each part of the detail by workspace is the sum of the lines that its filters find, page by page."""
    detail = json.loads(statement(clickhouse, "--detail", "workspace", "--format", "json").output)

    for part in detail["rows"][0]["detail"]:
        charges, after = [], 0
        while after is not None:
            narrowed = ("--lines", "--workspace", part["workspace"], "--after", str(after), "--limit", "2")
            page = json.loads(statement(clickhouse, *narrowed, "--format", "json").output)
            charges += [line["charge_pico"] for line in page["lines"]]
            after = page["next_after_seq"]
        assert sum(charges) == page["charge_pico"] == part["charge_pico"]
        assert len(charges) == page["count"]


@pytest.mark.usefixtures("filled")
def test_the_table_of_lines_says_the_sum_and_where_it_goes_on(clickhouse: str) -> None:
    """Two of five lines are shown; the sum is that of all five."""
    done = statement(clickhouse, "--lines", "--model", "m1", "--limit", "2")

    assert done.exit_code == 0
    assert "5" in done.output
    assert "5.0000000002" in done.output
    assert "--after 3" in done.output


@pytest.mark.usefixtures("filled")
def test_lines_as_csv_have_every_field(clickhouse: str) -> None:
    """One row a line, under the names of R7.1."""
    rows = list(csv.DictReader(io.StringIO(statement(clickhouse, "--lines", "--format", "csv").output)))

    assert [row["seq"] for row in rows] == [str(seq) for seq in range(1, 11)]
    assert rows[0]["charge_pico"] == str(10**12 + 8)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--lines", "--model", "none"), 1, "has model 'none'"),
        (("--model", "m1"), 2, "--lines"),
        (("--lines", "--detail", "model"), 2, "exclude each other"),
        (("--lines", "--limit", "0"), 2, "--limit"),
    ],
)
@pytest.mark.usefixtures("filled")
def test_what_cannot_be_asked_for_is_said(clickhouse: str, arguments: tuple[str, ...], code: int, said: str) -> None:
    """The message names the option that does not fit."""
    done = statement(clickhouse, *arguments)

    assert done.exit_code == code
    assert said in done.stderr


@pytest.mark.rule("R10.3")
def test_the_state_of_a_statement_is_shown(filled: Client, clickhouse: str) -> None:
    """Frozen from the closing on, also without a catalog; else the catalog says whether more may come."""
    assert "state" not in json.loads(statement(clickhouse, "--format", "json").output)

    filled.command(
        "INSERT INTO usage.closings (id, customer, app, period, cut_off, closed_at) "
        "VALUES ('c', 'acme', 'helpdesk', '2026-11-01', 10, '2026-12-04 00:00:00')"
    )

    frozen = json.loads(statement(clickhouse, "--format", "json").output)
    assert (frozen["state"], frozen["cut_off"]) == ("frozen", 10)
    assert "Frozen" in statement(clickhouse).output


@pytest.mark.rule("R10.3")
def test_with_a_catalog_an_open_statement_says_so(store: Client, clickhouse: str) -> None:
    """A period whose end and grace are far ahead is open."""
    insert(store, [a_line("acme", 1, app="helpdesk", period="2099-11-01", posted_at="2099-11-03T00:00:00Z")])

    done = CliRunner().invoke(
        statement_command,
        ["--customer", "acme", "--period", "2099-11-01", "--clickhouse", clickhouse, "--catalog", str(CATALOG)],
    )

    assert "Open: more usage may still come." in done.output

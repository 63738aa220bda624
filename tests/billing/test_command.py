"""Tests of `usage statement` and `usage migrate` as a person meets them."""

import csv
import io
import json

import pytest
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from pipeline.cli.migrate import migrate_command
from pipeline.cli.statement import statement_command
from pipeline.domain.words import count_of
from tests.sink.support import a_line, expected, insert, priced

NOVEMBER = ("--customer", "acme", "--period", "2026-11-01")


@pytest.fixture
def filled(store: Client) -> Client:
    """Give tables with a small statement of two rows and three workspaces."""
    pool = {"id": "daily", "scope_value": "", "units": 180}
    insert(
        store,
        [
            a_line("acme", 1, quantity=182, included=180, overage=2, pools=[pool], **priced(1_234_567_890_000_000, 0)),
            a_line("acme", 2, unit="query", workspace="[bold]büro", **priced(10**10, -(2 * 10**10))),
            a_line("acme", 3, unit="query", workspace="it", overage=0, blocked=1, **priced(0, 0)),
        ],
    )
    store.command("INSERT INTO usage.sink_positions VALUES ('usage.lines', 0, 5, '2026-11-03 10:00:00')")
    return store


def statement(clickhouse: str, *arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(statement_command, [*arguments, "--clickhouse", clickhouse])


@pytest.mark.rule("R8.1")
@pytest.mark.usefixtures("filled")
def test_the_table_speaks_the_customers_language(clickhouse: str) -> None:
    """Quantities with their units first, then the amount; title, days, total and how fresh it is."""
    done = statement(clickhouse, *NOVEMBER)

    assert done.exit_code == 0
    assert [line.split() for line in done.output.splitlines()] == [
        ["Statement", "for", "acme,", "app", "helpdesk"],
        ["2026-11-01", "to", "2026-11-30,", "UTC"],
        [],
        ["Feature", "Used", "Included", "Granted", "Paid", "Blocked", "Amount"],
        ["contract-extraction", "182", "documents", "180", "0", "2", "0", "1,234.57"],
        ["contract-extraction", "2", "queries", "0", "0", "1", "1", "-0.01"],
        ["Total", "1,234.56"],
        [],
        ["As", "of", "2026-11-03", "10:00:00", "UTC,", "when", "the", "sink", "last", "wrote."],
    ]


@pytest.mark.rule("R8.1")
@pytest.mark.usefixtures("filled")
def test_the_table_shows_detail_as_it_is_named(clickhouse: str) -> None:
    """A workspace whose name looks like markup is shown literally, with its exact charge and tokens."""
    done = statement(clickhouse, *NOVEMBER, "--detail", "workspace")

    (line,) = [line for line in done.output.splitlines() if "büro" in line]
    assert line.split() == ["[bold]büro", "1", "query", "0", "0", "1", "0", "-0.01", "1,000", "10", "100"]


@pytest.mark.rule("R8.1")
def test_json_has_the_shape_of_the_offline_statements(store: Client, clickhouse: str) -> None:
    """The output is one entry of statements.json."""
    insert(store, [{**line, "version": 1} for line in expected("case1", "lines.ndjson")])
    wanted = expected("case1", "statements.json")[0]

    done = statement(
        clickhouse,
        *("--customer", wanted["customer"], "--app", wanted["app"], "--period", wanted["period"], "--format", "json"),
    )

    assert done.exit_code == 0
    assert json.loads(done.output) == wanted


@pytest.mark.rule("R8.1")
@pytest.mark.usefixtures("filled")
def test_csv_has_a_line_a_row_and_with_detail_a_line_a_part(clickhouse: str) -> None:
    """Exact charges stand in both, and the parts' sum is the rows'."""
    rows, parts = (
        list(csv.DictReader(io.StringIO(statement(clickhouse, *NOVEMBER, "--format", "csv", *more).output)))
        for more in ((), ("--detail", "workspace"))
    )

    assert [row["amount"] for row in rows] == ["1234.57", "-0.01"]
    assert [part["workspace"] for part in parts] == ["legal", "[bold]büro", "it"]
    assert sum(int(row["charge_pico"]) for row in rows) == sum(int(part["charge_pico"]) for part in parts)


@pytest.mark.usefixtures("filled")
def test_an_unknown_customer_is_told_on_stderr(clickhouse: str) -> None:
    """Nothing goes to standard output, the exit code is 1, and the message says what was meant."""
    done = statement(clickhouse, "--customer", "acmee", "--period", "2026-11-01")

    assert done.exit_code == 1
    assert done.stdout == ""
    assert "did you mean 'acme'?" in done.stderr


def test_without_tables_the_way_out_is_named(store: Client, clickhouse: str) -> None:
    """Before the first migration the message says to migrate; `usage migrate` mends it."""
    store.command("DROP DATABASE usage SYNC")

    before = statement(clickhouse, *NOVEMBER)
    planned = CliRunner().invoke(migrate_command, ["--dry-run", "--clickhouse", clickhouse])
    applied = CliRunner().invoke(migrate_command, ["--clickhouse", clickhouse])
    again = CliRunner().invoke(migrate_command, ["--clickhouse", clickhouse])
    status = CliRunner().invoke(migrate_command, ["--status", "--clickhouse", clickhouse])

    assert before.exit_code == 1
    assert "usage migrate" in before.stderr
    assert "CREATE TABLE IF NOT EXISTS usage.usage_lines" in planned.output
    assert applied.output.startswith("applied 0001_create_usage_lines\n")
    assert again.output == "up to date\n"
    assert status.output.split()[:3] == ["0001", "create_usage_lines", "applied"]


def test_without_clickhouse_the_address_is_named() -> None:
    """Nobody at the address: where it was looked for and what to do, without a stack trace."""
    done = statement("http://127.0.0.1:9", *NOVEMBER)

    assert done.exit_code == 1
    assert "ClickHouse does not answer at http://127.0.0.1:9" in done.stderr
    assert "usage up" in done.stderr


@pytest.mark.parametrize(
    ("quantity", "unit", "words"),
    [
        (1, "document", "1 document"),
        (0, "ticket", "0 tickets"),
        (1820, "query", "1,820 queries"),
        (2, "day", "2 days"),
        (2, "box", "2 boxes"),
        (2, "batch", "2 batches"),
    ],
)
def test_units_are_counted_in_english(quantity: int, unit: str, words: str) -> None:
    """One document, two documents."""
    assert count_of(quantity, unit) == words

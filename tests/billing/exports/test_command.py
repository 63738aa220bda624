"""`usage export` on lines in ClickHouse, as a person meets it."""

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from pipeline.billing.exports import export_statement
from pipeline.catalog import load_catalog
from pipeline.cli.export import export_group
from tests.sink.support import CASES, CONFORMANCE, a_line, expected, insert

CATALOG = """\
currency: EUR
platform_fee_percent: "5"
builders: [{id: northwind, name: Northwind Ltd}]
apps: [{id: helpdesk, builder: northwind}]
customers: [{id: acme, name: Acme GmbH}]
plans: [{id: team, version: 1, app: helpdesk}]
subscriptions: [{customer: acme, plan: team, version: 1, start: 2026-01-01}]
"""
OF_ACME = ("--customer", "acme", "--period", "2026-11-01")


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Return a catalog file with names and a currency."""
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG)
    return path


def export(clickhouse: str, catalog: Path, *arguments: str) -> Result:
    """Run the command."""
    fixed = ("--clickhouse", clickhouse, "--catalog", str(catalog))
    return CliRunner().invoke(export_group, ["statement", *arguments, *fixed])


@pytest.mark.rule("R5.4", "R8.1")
@pytest.mark.parametrize("case", CASES)
def test_every_form_sums_to_the_expected_total(store: Client, case: str) -> None:
    """Over lines half of which were sent twice, each form comes to the cent that is expected."""
    lines = [{**line, "version": 3} for line in expected(case, "lines.ndjson")]
    catalog = load_catalog(CONFORMANCE / case / "catalog.yaml")
    insert(store, lines)
    insert(store, lines[::2])

    def written(statement: dict[str, str], form: str, dimension: str | None = None) -> str:
        of = (statement["customer"], statement["app"], statement["period"])
        return export_statement(store, catalog, *of, form, dimension=dimension, issuer="Us").decode()

    for statement in expected(case, "statements.json")[:8]:
        total = Decimal(statement["total"])
        focus = csv.DictReader(io.StringIO(written(statement, "focus"), newline=""))
        parts = csv.DictReader(io.StringIO(written(statement, "csv", "model"), newline=""))
        items = json.loads(written(statement, "invoice-items"))["data"]

        assert sum(Decimal(row["BilledCost"]) for row in focus) == total
        assert sum(Decimal(part["amount"]) for part in parts) == total
        assert sum(item["amount"] for item in items) == total * 100
        assert json.loads(written(statement, "json")).items() >= {"total": statement["total"]}.items()


def test_it_is_written_to_a_file_or_to_standard_output(
    store: Client, clickhouse: str, catalog: Path, tmp_path: Path
) -> None:
    """The same bytes either way, and nothing else on standard output; names and currency are the catalog's."""
    insert(store, [a_line("acme", 1, workspace="büro")])
    out = tmp_path / "statement.csv"

    shown = export(clickhouse, catalog, *OF_ACME, "--format", "csv", "--detail", "workspace")
    saved = export(clickhouse, catalog, *OF_ACME, "--format", "csv", "--detail", "workspace", "--out", str(out))

    assert (shown.exit_code, saved.exit_code) == (0, 0), shown.output + saved.output
    assert out.read_bytes() == shown.stdout_bytes
    assert saved.stdout == ""
    (line,) = csv.DictReader(io.StringIO(shown.stdout))
    assert (line["workspace"], line["currency"], line["amount"], line["state"]) == ("büro", "EUR", "1.00", "open")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--customer", "acmee", "--period", "2026-11-01", "--format", "csv"), 1, "did you mean 'acme'?"),
        (("--customer", "acme", "--period", "November", "--format", "csv"), 1, "named by its first day"),
        ((*OF_ACME, "--format", "focus", "--detail", "model"), 2, "focus"),
        ((*OF_ACME, "--format", "pdf"), 2, "html"),
        ((*OF_ACME, "--format", "csv", "--out", "/nowhere/at/all.csv"), 1, "cannot write /nowhere/at/all.csv"),
    ],
)
def test_what_cannot_be_exported_is_explained(
    store: Client, clickhouse: str, catalog: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """The exit code says that it failed, standard error why; standard output stays empty."""
    insert(store, [a_line("acme", 1)])

    done = export(clickhouse, catalog, *arguments)

    assert (done.exit_code, done.stdout) == (code, "")
    assert message in done.stderr

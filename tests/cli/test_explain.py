"""Tests of `usage explain` and `usage margin` as a person meets them."""

import csv
import io
import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from pipeline.cli.explain import explain_group
from pipeline.cli.margin import margin_command
from pipeline.domain.lines import Line
from tests.billing.explain_support import Rated, catalog_file, put, rated

NOBODY = ("--kafka", "127.0.0.1:9")


@dataclass
class Shell:
    """Runs the commands on a rated journal."""

    made: Rated
    clickhouse: str
    catalog: Path

    def explain(self, *arguments: str) -> Result:
        return CliRunner().invoke(explain_group, [*arguments, "--clickhouse", self.clickhouse])

    def line(self, customer: str, seq: int, *arguments: str) -> Result:
        named = ("line", "--customer", customer, "--seq", str(seq), "--catalog", str(self.catalog))
        return self.explain(*named, *NOBODY, *arguments)

    def margin(self, *arguments: str) -> Result:
        fixed = [*NOBODY, "--clickhouse", self.clickhouse, "--catalog", str(self.catalog)]
        return CliRunner().invoke(margin_command, [*arguments, *fixed])


@pytest.fixture
def shell(store: Client, clickhouse: str, tmp_path: Path) -> Shell:
    made = rated()
    put(store, made.lines)
    return Shell(made, clickhouse, catalog_file(tmp_path))


@pytest.mark.rule("R6.7")
def test_a_line_is_told_step_by_step_with_rules(shell: Shell) -> None:
    """The headline, the steps with the numbers of their rules, and that it was checked."""
    line = next(line for line in shell.made.lines if line.overage and line.charge_pico and line.included)

    done = shell.line(line.customer, line.seq)

    assert done.exit_code == 0, done.output
    for wanted in (f"line {line.seq}:", "Pool 1", "[R6.4]", "[R6.7]", "[R6.9]", "which gives the stored line"):
        assert wanted in done.output
    assert max(map(len, done.output.splitlines())) <= 120


def test_json_has_the_numbers(shell: Shell) -> None:
    """Amounts as decimal strings and as integers, that of the line among them."""
    line = next(line for line in shell.made.lines if line.charge_pico)

    shown = json.loads(shell.line(line.customer, line.seq, "--format", "json").output)

    assert shown["verified"]
    assert shown["line"]["charge_pico"] == line.charge_pico
    assert Decimal(shown["line"]["charge"]) * 10**12 == line.charge_pico
    assert shown["catalog"] == shell.made.catalog.digest


def test_a_line_that_does_not_follow_ends_with_1(shell: Shell, store: Client) -> None:
    """What is stored and what comes out are named; nothing is explained away."""
    line = next(line for line in shell.made.lines if line.charge_pico)
    where = "customer = {customer:String} AND seq = {seq:UInt64}"
    store.command(
        "ALTER TABLE usage.usage_lines UPDATE charge_pico = charge_pico + 1, margin_pico = margin_pico + 1, "
        f"builder_earnings_pico = builder_earnings_pico + 1 WHERE {where}",
        parameters={"customer": line.customer, "seq": line.seq},
        settings={"mutations_sync": 1},
    )

    done = shell.line(line.customer, line.seq)

    assert done.exit_code == 1
    assert "NOT EXPLAINED" in done.output
    assert "charge: stored" in done.output


def test_what_is_not_there_is_told_on_stderr(shell: Shell) -> None:
    """An unknown line, and a catalog version that nobody has."""
    unknown = shell.line("nobody", 1)
    other = shell.catalog.read_text().replace("currency: USD", "currency: EUR")
    shell.catalog.write_text(other)
    line = shell.made.lines[0]
    elsewhere = shell.line(line.customer, line.seq)

    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "no lines of customer 'nobody'" in unknown.stderr
    assert elsewhere.exit_code == 1
    assert "published catalogs cannot be read from Kafka" in elsewhere.stderr


def bill_of(line: Line) -> tuple[str, str, str]:
    return line.customer, line.app, line.period


@pytest.mark.rule("R5.4")
def test_a_change_is_told_in_sentences_that_sum(shell: Shell) -> None:
    """Amounts in cents, the biggest first, and their sum."""
    bills = shell.made.bills()
    sizes = {bill: sum(line.charge_pico for line in shell.made.lines if bill == bill_of(line)) for bill in bills}
    customer, app, period = max(
        bills, key=lambda bill: (any(other[:2] == bill[:2] and other < bill for other in bills), sizes[bill])
    )

    done = shell.explain("change", "--customer", customer, "--app", app, "--period", period)
    shown = json.loads(
        shell.explain("change", "--customer", customer, "--app", app, "--period", period, "--format", "json").output
    )

    assert done.exit_code == 0, done.output
    assert sum(part["cents"] for part in shown["parts"]) == shown["difference_cents"]
    amounts = [
        line.split()[0].replace(",", "") for line in done.output.splitlines() if line.lstrip()[:1] in "+-" and line
    ]
    assert sum(map(Decimal, amounts[:-1])) == Decimal(amounts[-1]) == Decimal(shown["difference"])


def test_margins_are_shown_in_three_forms(shell: Shell) -> None:
    """The same rows in each; the total is that of the rows."""
    month = shell.made.lines[-1].posted_at[:7]

    table = shell.margin("--month", month)
    shown = json.loads(shell.margin("--month", month, "--format", "json").output)
    rows = list(csv.DictReader(io.StringIO(shell.margin("--month", month, "--format", "csv").output)))

    assert table.exit_code == 0, table.output
    assert "Total" in table.output
    assert [row["customer"] for row in rows] == [row["customer"] for row in shown["rows"]]
    assert sum(int(row["gap_pico"]) for row in rows) == shown["totals"]["gap_pico"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--month", "November"), "is no month"), (("--month", "2027-01", "--builder", "x"), "builder 'x' is not in the")],
)
def test_margins_of_nothing_are_refused(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    """A month that is none, a builder that there is not."""
    done = shell.margin(*arguments)

    assert done.exit_code != 0
    assert said in done.stderr

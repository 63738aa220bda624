"""`usage margin`: which customers cost more than they bring."""

import csv
import json
import sys
from contextlib import closing

import click
from clickhouse_connect.driver.exceptions import ClickHouseError
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.billing.margin import read_margin_risk
from pipeline.cli.catalogs import catalog_in_force
from pipeline.cli.connect import clickhouse_client, one_line
from pipeline.cli.options import options_for
from pipeline.cli.statement_table import format_amount
from pipeline.domain.explanations_words import tenths_text
from pipeline.domain.margins import Margin, MarginReport
from pipeline.domain.money import round_to_cents
from pipeline.domain.months import month_of
from pipeline.settings import Settings

_NOT_MIGRATED = (47, 60, 81)
"""ClickHouse's UNKNOWN_IDENTIFIER, UNKNOWN_TABLE and UNKNOWN_DATABASE."""
_PLAIN_WIDTH = 240
_AMOUNTS = ("Cost", "Included cost", "Revenue", "Builder earns", "Gap")


@click.command("margin")
@click.option("--month", required=True, metavar="YYYY-MM", help="The calendar month, in UTC.")
@click.option("--builder", metavar="ID", help="Only this builder's customers.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How to print it; json and csv have exact amounts, also in 10^-12 of the currency (_pico).",
)
@options_for("kafka", "clickhouse", "catalog")
def margin_command(month: str, builder: str | None, form: str, settings: Settings) -> None:
    """Show which customers cost more than they bring, the riskiest first.

    For each customer of an app: what all calls cost, what of it nobody was charged for (included cost), what the customer
    paid by use, what the builder earns of it, and the gap (cost less revenue) that the licence has to carry. Customers to
    act on come first, with a sentence each; docs/explain.md says when that is.
    Read from ClickHouse. The catalog is --catalog's or, without one, the version published last.
    """
    try:
        month_of(month)
    except ValueError as fault:
        raise click.UsageError(f"--month: {fault}") from None
    catalog = catalog_in_force(settings)
    if builder is not None and builder not in catalog.builders:
        known = ", ".join(sorted(catalog.builders)[:12])
        raise click.ClickException(f"builder {builder!r} is not in the catalog; known are: {known}")
    with closing(clickhouse_client(settings)) as client:
        try:
            report = read_margin_risk(client, catalog, month, builder)
        except ClickHouseError as error:
            if getattr(error, "code", None) in _NOT_MIGRATED:
                raise click.ClickException(
                    f"ClickHouse lacks a table: run `usage migrate` ({one_line(error)})"
                ) from None
            raise click.ClickException(f"ClickHouse could not answer: {one_line(error)}") from error
    if form == "table":
        _print_table(report)
    elif form == "json":
        click.echo(json.dumps(report.as_dict(), indent=1, ensure_ascii=False))
    else:
        _print_csv(report)


def _print_csv(report: MarginReport) -> None:
    """Print a line a customer and app."""
    rows = []
    for each in report.as_dict()["rows"]:
        del each["trend"]
        kinds = each.pop("included_cost_by_kind_pico")
        flags = {"flags": " ".join(each.pop("flags"))}
        named = {f"included_{kind}_pico": pico for kind, pico in kinds.items()}
        rows.append({"month": report.month, "currency": report.currency} | each | flags | named)
    if rows:
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _print_table(report: MarginReport) -> None:
    console = Console()
    drawn = console.is_terminal
    if not drawn:
        console = Console(width=_PLAIN_WIDTH, color_system=None)
    console.print(Text(f"Margin risk in {report.month}, UTC, amounts in {report.currency}", style="bold"))
    if not report.rows:
        console.print(Text(f"\nNothing was posted in {report.month}."))
        return
    console.print()
    table = Table(box=box.SIMPLE if drawn else None, pad_edge=False, padding=(0, 1))
    for name in ("Risk", "Customer", "App"):
        table.add_column(name)
    for name in (*_AMOUNTS, "x median", "Gap before"):
        table.add_column(name, justify="right")
    for row in report.rows:
        table.add_row(*map(Text, _cells(row)))
    table.add_section()
    totals = report.as_dict()["totals"]
    sums = (totals[f"{name}_pico"] for name in ("cost", "included_cost", "revenue", "builder_earnings", "gap"))
    table.add_row(Text("Total", style="bold"), "", "", *(Text(_cents(pico)) for pico in sums), "", "")
    console.print(table)
    for row in report.rows:
        if row.level != "fine":
            console.print(Text(f"{row.level}: {row.sentence}"))
    for heaviest, *others in report.by_app():
        if others and heaviest.ratio is not None:
            times = tenths_text(*heaviest.ratio)
            console.print(
                Text(f"{heaviest.app}: {heaviest.customer_name} costs {times} times what the median customer costs.")
            )


def _cells(row: Margin) -> list[str]:
    month, ratio = row.month, row.ratio
    amounts = (month.cost_pico, month.included_pico, month.charge_pico, month.earnings_pico, month.gap_pico)
    return [
        row.level,
        row.customer_name,
        row.app,
        *map(_cents, amounts),
        "" if ratio is None else tenths_text(*ratio),
        ", ".join(_cents(each.gap_pico) for _, each in row.trend[:-1]),
    ]


def _cents(pico: int) -> str:
    return format_amount(round_to_cents(pico))

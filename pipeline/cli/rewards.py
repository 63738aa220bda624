"""`usage rewards`: what providers are owed for a month."""

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

from pipeline.billing.rewards import read_rewards
from pipeline.billing.sums import RollupMovingError
from pipeline.cli.catalogs import catalog_in_force
from pipeline.cli.connect import clickhouse_client, one_line
from pipeline.cli.options import options_for
from pipeline.cli.payouts_table import format_short
from pipeline.domain.months import month_of
from pipeline.domain.rewards import NOT_IN_CATALOG, RewardReport
from pipeline.settings import Settings

_NOT_MIGRATED = (47, 60, 81)
"""ClickHouse's UNKNOWN_IDENTIFIER, UNKNOWN_TABLE and UNKNOWN_DATABASE."""
_PLAIN_WIDTH = 240
_COUNTS = ("lines", "input_tokens", "cached_input_tokens", "output_tokens")


@click.command("rewards")
@click.option("--month", required=True, metavar="YYYY-MM", help="The calendar month, in UTC.")
@click.option("--provider", metavar="ID", help=f"Only this provider's; {NOT_IN_CATALOG!r} for models that have none.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How to print them; json and csv have the exact amounts too, in 10^-12 of the currency (_pico).",
)
@options_for("kafka", "clickhouse", "catalog")
def rewards_command(month: str, provider: str | None, form: str, settings: Settings) -> None:
    """Show what providers are owed for a month, by provider and model.

    The reward is what customers were charged of the cost (R6.9); the cost is what all calls cost, included ones too.
    Amounts are exact. A ledger of its own: payouts to builders are in `usage payouts`.
    Read from ClickHouse. The catalog is --catalog's or, without one, the version published last.
    """
    try:
        month_of(month)
    except ValueError as fault:
        raise click.UsageError(f"--month: {fault}") from None
    catalog = catalog_in_force(settings)
    with closing(clickhouse_client(settings)) as client:
        try:
            report = read_rewards(client, month, provider, currency=catalog.currency)
        except RollupMovingError as fault:
            raise click.ClickException(str(fault)) from None
        except ClickHouseError as error:
            if getattr(error, "code", None) in _NOT_MIGRATED:
                raise click.ClickException(
                    f"ClickHouse lacks a table: run `usage migrate` ({one_line(error)})"
                ) from None
            raise click.ClickException(f"ClickHouse could not answer: {one_line(error)}") from error
    if provider is not None and not report.rows:
        known = sorted({NOT_IN_CATALOG, *(model.provider for model in catalog.models.values())})
        raise click.ClickException(f"nothing of provider {provider!r} in {month}; known are: {', '.join(known)}")
    if form == "table":
        _print_table(report)
    elif form == "json":
        click.echo(json.dumps(report.as_dict(), indent=1, ensure_ascii=False))
    else:
        _print_csv(report)


def _print_csv(report: RewardReport) -> None:
    head = {"month": report.month, "currency": report.currency}
    names = [*head, "provider", "model", *_COUNTS, "cost", "cost_pico", "reward", "reward_pico"]
    writer = csv.DictWriter(sys.stdout, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(head | row.as_dict() for row in report.rows)


def _print_table(report: RewardReport) -> None:
    console = Console()
    drawn = console.is_terminal
    if not drawn:
        console = Console(width=_PLAIN_WIDTH, color_system=None)
    console.print(Text(f"Provider rewards for {report.month}, UTC, amounts in {report.currency}", style="bold"))
    if not report.rows:
        console.print(Text(f"\nNothing was posted in {report.month}."))
        return
    console.print()
    table = Table(box=box.SIMPLE if drawn else None, pad_edge=False, padding=(0, 1))
    for name in ("Provider", "Model"):
        table.add_column(name)
    for name in ("Lines", "Tokens in", "Cached", "Tokens out", "Cost", "Reward"):
        table.add_column(name, justify="right")
    for provider, cost_pico, reward_pico in report.providers():
        rows = [row for row in report.rows if row.provider == provider]
        for row in rows:
            counts = (f"{getattr(row, name):,}" for name in _COUNTS)
            cells = (provider or NOT_IN_CATALOG, row.model, *counts)
            table.add_row(*map(Text, cells), format_short(row.cost_pico), format_short(row.reward_pico))
        if len(rows) > 1:
            whole = Text(f"{provider or NOT_IN_CATALOG}, all models", style="bold")
            table.add_row(whole, *[""] * 5, format_short(cost_pico), format_short(reward_pico))
    table.add_section()
    totals = (sum(row.cost_pico for row in report.rows), sum(row.reward_pico for row in report.rows))
    table.add_row(Text("Total", style="bold"), *[""] * 5, *map(format_short, totals))
    console.print(table)

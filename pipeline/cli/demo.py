"""`usage demo`: the main job once, from usage to statements."""

import asyncio
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import click
from clickhouse_connect.driver.client import Client

from pipeline.billing.payouts import read_month_nets
from pipeline.billing.statement import read_statement
from pipeline.cli.catalogs import load_or_explain
from pipeline.cli.connect import clickhouse_client
from pipeline.cli.interrupt import cancel_on_signals
from pipeline.cli.options import options_for
from pipeline.cli.progress import progress_bar
from pipeline.cli.statement_table import format_amount, print_statement
from pipeline.domain.catalog import Catalog
from pipeline.domain.money import round_to_cents
from pipeline.domain.records import Record
from pipeline.embedded.demo import Fed, difference, feed, rate_offline
from pipeline.embedded.demo_usage import DemoError, make_calls, month_of_demo, read_trace, usage_of
from pipeline.embedded.drain import NotDrained, wait_drained
from pipeline.embedded.process import GaveUp
from pipeline.embedded.stack import Stack, StackError
from pipeline.rating.offline import OfflineRating
from pipeline.settings import Settings
from pipeline.settings.resources import schema_path

_DRAIN_TIMEOUT_S = 120.0
_STATEMENTS_SHOWN = 3


@click.command("demo")
@click.option(
    "--trace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with TIMESTAMP, ContextTokens, GeneratedTokens to take times and tokens from; else usage is made up.",
)
@click.option("--seed", default=1, show_default=True, help="Makes the same usage again.")
@click.option("--verbose", is_flag=True, help="Show the logs of all processes.")
@options_for("catalog", "log_level")
def demo_command(trace: Path | None, seed: int, verbose: bool, settings: Settings) -> None:
    """Run the whole pipeline once, in a temporary folder, and leave nothing behind.

    Starts broker, ClickHouse, worker and sink, feeds usage of several customers through Kafka, prints statements and
    payouts out of ClickHouse, and checks that every line there equals an offline rating of the same events.
    """
    catalog_path = settings.catalog or schema_path("examples", "catalog.yaml")
    catalog = load_or_explain(catalog_path)
    try:
        calls = read_trace(trace) if trace else make_calls(seed, month_of_demo())
        records = usage_of(catalog, calls, seed)
        settings = settings.model_copy(update={"catalog": catalog_path.resolve()})
        equal = asyncio.run(_run(settings, catalog, records, verbose=verbose))
    except asyncio.CancelledError:
        raise click.Abort from None
    except (DemoError, StackError, GaveUp, NotDrained, TimeoutError) as error:
        raise click.ClickException(str(error)) from None
    sys.exit(0 if equal else 1)


async def _run(settings: Settings, catalog: Catalog, records: list[Record], *, verbose: bool) -> bool:
    """Return whether ClickHouse holds exactly the lines of an offline rating."""
    cancel_on_signals(lambda text: click.echo(text, err=True))
    logs: list[str] = []

    def log(name: str, line: str) -> None:
        logs.append(f"{name:<10} | {line}")
        if verbose:
            click.echo(logs[-1], err=True)

    with tempfile.TemporaryDirectory(prefix="usage-demo-", ignore_cleanup_errors=True) as folder:
        click.echo("starting broker, ClickHouse, worker and sink ...", err=True)
        try:
            async with Stack(settings, Path(folder), kafka_port=0, clickhouse_port=0, workers=1, log=log) as stack:
                await _feed_and_wait(stack.settings, records)
                rating, expected, fed = rate_offline(catalog, records)
                with closing(clickhouse_client(stack.settings)) as client:
                    _print_fed(fed, rating)
                    _print_statements(client, catalog, rating)
                    _print_payouts(client, catalog)
                    return _print_equal(difference(client, expected), len(expected))
        except (StackError, GaveUp, NotDrained, TimeoutError):
            if not verbose:
                click.echo("\n".join(logs), err=True)
            raise


async def _feed_and_wait(settings: Settings, records: list[Record]) -> None:
    with progress_bar("records") as progress:
        feeding = progress.add_task("feeding", total=len(records))
        rating = progress.add_task("rating ", total=len(records))
        await feed(settings, records, lambda count: progress.advance(feeding, count))
        await wait_drained(
            settings, _DRAIN_TIMEOUT_S, lambda lag: progress.update(rating, completed=len(records) - lag)
        )


def _print_fed(fed: Fed, rating: OfflineRating) -> None:
    click.echo(
        f"Fed {fed.events:,} usage events and {fed.grants} grants and top-ups in {fed.records:,} records, "
        f"of {fed.customers} customers with {fed.deployments} deployments: "
        f"{rating.lines:,} rated, {rating.duplicates:,} duplicates, {rating.rejects.total():,} rejected.\n"
    )


def _print_statements(client: Client, catalog: Catalog, rating: OfflineRating) -> None:
    """Print three statements as ClickHouse has them: the largest of each app, then the largest of the others."""
    largest = sorted(rating.statements(), key=lambda each: -each.total_cents)
    apps = {statement.app: statement for statement in reversed(largest)}
    chosen = sorted(apps.values(), key=lambda each: -each.total_cents)
    chosen += [statement for statement in largest if statement not in chosen]
    for each in chosen[:_STATEMENTS_SHOWN]:
        statement = read_statement(client, each.customer, each.app, each.period)
        print_statement(statement, customer_name=catalog.customers[each.customer], currency=catalog.currency)
        click.echo()


def _print_payouts(client: Client, catalog: Catalog) -> None:
    total_cents = 0
    for builder, month, net_pico in read_month_nets(client, catalog):
        payout_cents = round_to_cents(net_pico)
        total_cents += payout_cents
        if payout_cents:
            amount = format_amount(payout_cents)
            click.echo(f"Payout to {catalog.builders[builder]} for {month}: {amount} {catalog.currency}")
    click.echo(f"Payouts to builders in total: {format_amount(total_cents)} {catalog.currency}\n")


def _print_equal(found: str | None, lines: int) -> bool:
    if found is None:
        click.echo(f"All {lines:,} lines in ClickHouse equal an offline rating of the same events, to the picodollar.")
    else:
        click.echo(f"NOT EQUAL to an offline rating of the same events: {found}.")
    return found is None

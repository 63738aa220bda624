"""`usage payouts`: what builders are paid for a month."""

import asyncio
import csv
import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

import click
from aiokafka.errors import KafkaError, ProducerFenced
from click.core import ParameterSource
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.billing.payouts import PayoutReport, read_payouts
from pipeline.billing.sums import RollupMovingError
from pipeline.cli.audit_log import LogError
from pipeline.cli.catalogs import catalog_in_force
from pipeline.cli.connect import clickhouse_client, one_line
from pipeline.cli.interrupt import cancel_on_signals
from pipeline.cli.options import options_for
from pipeline.cli.payouts_make import Outcome, PayoutRefused, make_payouts
from pipeline.cli.payouts_table import outcome_sentence, print_payouts
from pipeline.domain.catalog import Catalog
from pipeline.domain.months import month_of
from pipeline.settings import Settings

T = TypeVar("T")
_NOT_MIGRATED = (47, 60, 81)
"""ClickHouse's UNKNOWN_IDENTIFIER, UNKNOWN_TABLE and UNKNOWN_DATABASE."""
_MONTH = {"metavar": "YYYY-MM", "help": "The calendar month, in UTC."}
_BUILDER = {"metavar": "ID", "help": "Only this builder's."}


@click.group("payouts", invoke_without_command=True)
@click.option("--month", **_MONTH)  # type: ignore[arg-type]
@click.option("--builder", **_BUILDER)  # type: ignore[arg-type]
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How to print them; json and csv have exact amounts too, in 10^-12 of the currency (_pico).",
)
@click.option("--detail", is_flag=True, help="With --format csv: a line for each app and customer instead.")
@options_for("kafka", "clickhouse", "catalog")
@click.pass_context
def payouts_group(
    context: click.Context, month: str | None, builder: str | None, form: str, detail: bool, settings: Settings
) -> None:
    """Show what builders are paid for a month; with `make`, make these payouts.

    For each builder: earnings by app and customer, the platform's fee, what was carried in, what is paid, and the state:
    open (the month goes on), held (for the catalog's payouts.hold_days), payable, carried (into a later payout) or paid.
    Read from ClickHouse. The catalog is --catalog's or, without one, the version published last.
    """
    if context.invoked_subcommand is not None:
        _refuse_options_before(context)
        return
    if month is None:
        raise click.UsageError("Missing option '--month': write one such as --month 2026-11.")
    _check_month(month)
    catalog = catalog_in_force(settings)
    _check_builder(catalog, builder)

    def read() -> PayoutReport:
        with closing(clickhouse_client(settings)) as client:
            return read_payouts(client, catalog, month, builder, now_us=time.time_ns() // 1000)

    report = _explained(settings, read)
    if form == "table":
        print_payouts(report, catalog)
    elif form == "json":
        click.echo(json.dumps(report.as_dict(), indent=1, ensure_ascii=False))
    else:
        _print_csv(report, detail=detail)


@payouts_group.command("make")
@click.option("--month", required=True, **_MONTH)  # type: ignore[arg-type]
@click.option("--builder", **_BUILDER)  # type: ignore[arg-type]
@click.option("--dry-run", is_flag=True, help="Only say what would be made.")
@click.option(
    "--wait",
    "wait_s",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds to wait until the sink has brought to ClickHouse what is in usage.lines.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
@options_for("kafka", "clickhouse", "catalog")
def make_command(month: str, builder: str | None, dry_run: bool, wait_s: float, form: str, settings: Settings) -> None:
    """Make the payouts for a month: write them to the topic billing.payouts, once and for all.

    All of them or none. A payout's id is a function of month and builder, so making it again, or by two at once, makes it once.
    Transfer the money then, with the id as the bank's reference: the pipeline moves none. What is below the catalog's
    payouts.minimum, or negative, is settled with 0.00 paid and carried into the next payout.
    """
    _check_month(month)
    catalog = catalog_in_force(settings)
    _check_builder(catalog, builder)
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they log, is raised too

    async def made() -> list[Outcome]:
        cancel_on_signals(lambda text: click.echo(text, err=True))
        with closing(await asyncio.to_thread(clickhouse_client, settings)) as client:
            return await make_payouts(settings, client, catalog, month, builder, wait_s=wait_s, dry_run=dry_run)

    outcomes = _explained(settings, lambda: asyncio.run(made()))
    if form == "json":
        shown = [{"result": each.result, **each.payout.as_dict()} for each in outcomes]
        click.echo(json.dumps(shown, indent=1, ensure_ascii=False))
        return
    for outcome in outcomes:
        click.echo(outcome_sentence(outcome, catalog))
    if not outcomes:
        click.echo(f"nobody has earnings in {month} or anything carried in: nothing was made")


def _explained(settings: Settings, work: Callable[[], T]) -> T:
    """Return what work returns. Raises click.ClickException, which says what to do."""
    again = "Run it again: what is made already is not made twice"
    try:
        return work()
    except asyncio.CancelledError:
        raise click.Abort from None
    except (PayoutRefused, LogError, RollupMovingError, ValueError) as fault:
        raise click.ClickException(str(fault)) from None
    except ProducerFenced:
        raise click.ClickException(
            f"somebody else has begun to make payouts meanwhile, so nothing was made here. {again}"
        ) from None
    except TimeoutError:
        raise click.ClickException(f"Kafka at {settings.kafka} has not answered in time. {again}") from None
    except (KafkaError, OSError) as error:
        raise click.ClickException(f"Kafka at {settings.kafka}: {error!r}; is --kafka right? {again}") from None
    except ClickHouseError as error:
        if getattr(error, "code", None) in _NOT_MIGRATED:
            raise click.ClickException(f"ClickHouse lacks a table: run `usage migrate` ({one_line(error)})") from None
        raise click.ClickException(f"ClickHouse could not answer: {one_line(error)}") from error


def _refuse_options_before(context: click.Context) -> None:
    """Raise click.UsageError for an option in front of the subcommand, which would not hold for it."""
    given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise click.UsageError(
            f"options stand behind the command: usage payouts {context.invoked_subcommand} --month ..."
        )


def _check_month(month: str) -> None:
    try:
        month_of(month)
    except ValueError as fault:
        raise click.UsageError(f"--month: {fault}") from None


def _check_builder(catalog: Catalog, builder: str | None) -> None:
    if builder is not None and builder not in catalog.builders:
        known = ", ".join(sorted(catalog.builders)[:12])
        raise click.ClickException(f"builder {builder!r} is not in the catalog; known are: {known}")


def _print_csv(report: PayoutReport, *, detail: bool) -> None:
    """Print a line a payout; with detail, a line for each app and customer, whose earnings sum to the month's."""
    rows: list[dict[str, Any]] = []
    names: list[str] = []
    for statement in report.statements:
        row = statement.as_dict()
        parts = row.pop("parts")
        head = {name: row[name] for name in ("id", "builder", "month", "currency")}
        rows += [head | part for part in parts] if detail else [row]
        names = names or list((rows or [{}])[0])
    writer = csv.DictWriter(sys.stdout, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)

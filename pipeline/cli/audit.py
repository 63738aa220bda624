"""`usage audit`: prove a period from ClickHouse and Kafka."""

import asyncio
import json
import sys
from contextlib import closing
from datetime import date

import click
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.billing.audit import Scope
from pipeline.cli.audit_catalogs import InForce
from pipeline.cli.audit_log import LogError
from pipeline.cli.audit_report import print_report, report_fields
from pipeline.cli.audit_run import Report, run_audit
from pipeline.cli.catalogs import catalog_in_force, catalogs_by_digest
from pipeline.cli.connect import clickhouse_client, one_line
from pipeline.cli.interrupt import cancel_on_signals
from pipeline.cli.options import options_for
from pipeline.settings import Settings

DAMAGE = 1
"""Exit code when something is wrong."""
IMPOSSIBLE = 2
"""Exit code when the audit cannot be done, as click has it for wrong usage."""
_NOT_MIGRATED = (60, 81)
"""ClickHouse's UNKNOWN_TABLE and UNKNOWN_DATABASE."""


class CannotAudit(click.ClickException):
    """The audit cannot be done: nothing is proven, for good or ill."""

    exit_code = IMPOSSIBLE


@click.command("audit")
@click.option("--period", required=True, metavar="YYYY-MM-DD", help="The billing period, named by its first day.")
@click.option("--customer", metavar="ID", help="Only this customer's lines.")
@click.option(
    "--rerate",
    is_flag=True,
    help="Also rate the whole log again and compare, each line under the catalog version that it names.",
)
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Findings that each check names; all are counted.",
)
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
def audit_command(
    period: str, customer: str | None, rerate: bool, limit: int, wait_s: float, form: str, settings: Settings
) -> None:
    """Prove a billing period: that ClickHouse has exactly the lines that were rated, and that they add up.

    Reads all of usage.lines, usage.states and usage.dead-letter, and with --rerate usage.events and billing.grants too;
    compares them with ClickHouse in a scratch database (usage_audit_...) that is dropped at the end. The pipeline may go
    on meanwhile. What each check holds is in docs/audit.md.

    Exit code: 0 nothing is wrong, 1 something is, 2 the audit could not be done.
    """
    scope = Scope(_first_day(period), customer, limit)
    try:
        report = _audited(settings, scope, _in_force(settings) if rerate else None, wait_s)
    except click.UsageError:
        raise
    except click.ClickException as error:
        raise CannotAudit(error.message) from None
    if form == "json":
        click.echo(json.dumps(report_fields(report), indent=1, ensure_ascii=False))
    else:
        print_report(report)
    sys.exit(DAMAGE if report.findings else 0)


def _in_force(settings: Settings) -> InForce:
    """Return what finds the catalog version of each line; --catalog stands for lines that name none."""
    return InForce(catalogs_by_digest(settings), catalog_in_force(settings))


def _audited(settings: Settings, scope: Scope, in_force: InForce | None, wait_s: float) -> Report:
    """Return what an audit found. Raises CannotAudit."""
    with closing(clickhouse_client(settings)) as client:
        try:
            return asyncio.run(_interruptible(settings, client, scope, in_force, wait_s))
        except asyncio.CancelledError:
            raise click.Abort from None
        except LogError as error:
            raise CannotAudit(str(error)) from None
        except KafkaError as error:
            raise CannotAudit(f"Kafka at {settings.kafka}: {error!r}; is it up, and is --kafka right?") from None
        except ClickHouseError as error:
            if getattr(error, "code", None) in _NOT_MIGRATED:
                raise CannotAudit(f"ClickHouse lacks a table: run `usage migrate` ({one_line(error)})") from None
            raise CannotAudit(f"ClickHouse could not answer: {one_line(error)}") from error


async def _interruptible(*arguments: object) -> Report:
    cancel_on_signals(lambda text: click.echo(text, err=True))
    return await run_audit(*arguments)  # type: ignore[arg-type]


def _first_day(period: str) -> str:
    try:
        return date.fromisoformat(period).isoformat()
    except ValueError:
        raise click.UsageError(
            f"{period!r} is no period: a period is named by its first day, such as 2026-11-01"
        ) from None

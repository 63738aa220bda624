"""`usage alerts`: send alerts to webhooks, mail or standard output, or watch them."""

import asyncio
import os
import sys
from contextlib import aclosing
from pathlib import Path

import click
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from pipeline.cli.catalogs import load_or_explain
from pipeline.cli.interrupt import STOP_SIGNALS, cancel_on_signals
from pipeline.cli.options import options_for
from pipeline.domain.catalog import Catalog
from pipeline.notify.delivery import NoTopicError
from pipeline.notify.follow import follow_alerts
from pipeline.notify.notices import notice_of
from pipeline.notify.run import Alerts
from pipeline.notify.stdout import shown
from pipeline.notify.targets import StdoutTarget, Target, TargetError, load_targets
from pipeline.observe.log import log_to_stderr
from pipeline.settings import Settings


@click.group("alerts")
def alerts_group() -> None:
    """Tell people and machines that a share of a pool or budget is reached.

    Alerts come from the topic usage.alerts. docs/alerts.md describes targets, and how receivers check signatures.
    """


@alerts_group.command("run")
@click.option(
    "--alerts-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with the targets; without one, alerts go to standard output.  [USAGE_ALERTS_CONFIG]",
)
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write when every target has its partitions.",
)
@options_for("kafka", "catalog", "log_level")
def run_command(alerts_config: Path | None, ready_file: Path | None, settings: Settings) -> None:
    """Deliver alerts to the configured targets until SIGTERM or Ctrl-C.

    Each target gets every alert at least once, in order, and goes on where it stopped. With --catalog alerts name
    customers, plans and limits; filters by app or builder need it.
    """
    log_to_stderr(settings.log_level)
    catalog = _catalog(settings)
    path = alerts_config or settings.alerts_config
    try:
        targets: list[Target] = [StdoutTarget(name="stdout")] if path is None else load_targets(path, catalog)
        alerts = Alerts(settings, catalog, targets)
    except TargetError as error:
        raise click.ClickException(str(error)) from None
    code = asyncio.run(_deliver(alerts, ready_file))
    _leave(code)


@alerts_group.command("tail")
@click.option("--from-beginning", is_flag=True, help="Show all alerts that Kafka still has, then those to come.")
@click.option("--no-follow", is_flag=True, help="Show what is there and end; with --from-beginning.")
@click.option("--customer", metavar="ID", help="Only this customer's.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print them.")
@options_for("kafka", "catalog", "log_level")
def tail_command(from_beginning: bool, no_follow: bool, customer: str | None, form: str, settings: Settings) -> None:
    """Print alerts as they come, one a line, until Ctrl-C; json prints an object a line.

    It only looks: nothing that `usage alerts run` delivers is touched.
    """
    if no_follow and not from_beginning:
        raise click.UsageError("--no-follow shows what is there already: give --from-beginning too")
    log_to_stderr(settings.log_level)
    catalog = _catalog(settings)
    try:
        code = asyncio.run(_tail(settings, catalog, from_beginning, no_follow, customer, form))
    except NoTopicError as error:
        raise click.ClickException(str(error)) from None
    except KafkaError as error:
        raise click.ClickException(f"Kafka at {settings.kafka}: {error!r}; is it up, and is --kafka right?") from None
    except BrokenPipeError:
        code = 0
    _leave(code)


def _catalog(settings: Settings) -> Catalog | None:
    return None if settings.catalog is None else load_or_explain(settings.catalog)


async def _deliver(alerts: Alerts, ready_file: Path | None) -> int:
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, alerts.stop)
    if ready_file is None:
        return await alerts.run()
    marking = asyncio.create_task(_mark_ready(alerts, ready_file))
    try:
        return await alerts.run()
    finally:
        marking.cancel()


async def _mark_ready(alerts: Alerts, ready_file: Path) -> None:
    await alerts.ready()
    await asyncio.to_thread(ready_file.touch)


async def _tail(
    settings: Settings, catalog: Catalog | None, from_beginning: bool, no_follow: bool, customer: str | None, form: str
) -> int:
    cancel_on_signals(lambda _: None)
    following = follow_alerts(settings, from_beginning=from_beginning, to_end=no_follow)
    try:
        async with aclosing(following):
            async for record in following:
                _show(record, catalog, customer, form)
    except asyncio.CancelledError:
        return 130
    return 0


def _show(record: ConsumerRecord, catalog: Catalog | None, customer: str | None, form: str) -> None:
    try:
        notice = notice_of(record, catalog)
    except ValueError as error:
        click.echo(f"usage.alerts/{record.partition} offset {record.offset}: {error}", err=True)
        return
    if customer in (None, notice.alert.customer):
        click.echo(shown(notice, form))


def _leave(code: int) -> None:
    """End the process; a reader of our output that is gone is no fault."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)

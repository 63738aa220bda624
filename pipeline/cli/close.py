"""`usage close`: freeze the statements of a period (R10)."""

import asyncio
import json
import logging
import time
from collections.abc import Sequence

import click
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.cli.catalogs import catalog_in_force
from pipeline.cli.options import options_for
from pipeline.domain.catalog import Catalog
from pipeline.domain.closings import CLOSE, Close, closes_at_us
from pipeline.domain.instants import day_start_us, format_instant
from pipeline.domain.records import GRANTS_TOPIC
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments

WRITE_S_MAX = 60.0


@click.command("close")
@click.option("--period", required=True, metavar="YYYY-MM-DD", help="The billing period, named by its first day.")
@click.option("--customer", metavar="ID", help="Only this customer's statements.")
@click.option("--app", metavar="ID", help="Only this app's statements.")
@click.option("--dry-run", is_flag=True, help="Only show what would be closed.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@options_for("kafka", "catalog")
def close_command(
    period: str, customer: str | None, app: str | None, dry_run: bool, form: str, settings: Settings
) -> None:
    """Close a period: its statements are frozen, and read the same for ever.

    Possible once the period and its grace are over. What is reported later with a time in the period is posted to the next
    statement, marked as late. To close again changes nothing. The statements are frozen when worker and sink have taken the
    records, usually within seconds.
    """
    if len(period) != len("2026-11-01") or not _is_day(period):
        raise click.UsageError(f"--period {period}: a period is named by its first day, such as 2026-11-01")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it logs, it raises too
    wanted, later_us = _closes(catalog_in_force(settings), period, customer, app, time.time_ns() // 1000)
    if not wanted:
        raise click.ClickException(_nothing(period, customer, app, later_us))
    if not dry_run:
        _write(settings, wanted)
    if form == "json":
        names = ("customer", "app", "period", "id")
        click.echo(json.dumps([{name: getattr(close, name) for name in names} for close in wanted], indent=1))
        return
    for close in wanted:
        click.echo(f"{'would close' if dry_run else 'closed'} {close.customer} {close.app} {close.period}")
    if later_us is not None:
        click.echo(f"others can be closed from {format_instant(later_us)} on", err=True)


def _closes(
    catalog: Catalog, period: str, customer: str | None, app: str | None, now_us: int
) -> tuple[list[Close], int | None]:
    """Return what may be closed now, and when the first of what may not yet be may."""
    wanted, later = [], []
    for of_customer, of_app in sorted(catalog.subscriptions):
        if customer not in (None, of_customer) or app not in (None, of_app):
            continue
        at_us = closes_at_us(catalog, of_customer, of_app, period)
        if at_us is None:
            continue
        if at_us <= now_us:
            wanted.append(Close(f"close-{of_app}-{period}"[:128], of_customer, of_app, period))
        else:
            later.append(at_us)
    return wanted, min(later, default=None)


def _nothing(period: str, customer: str | None, app: str | None, later_us: int | None) -> str:
    if later_us is not None:
        return f"period {period} and its grace are not over: it may be closed from {format_instant(later_us)} on"
    whose = "".join([f" of customer {customer!r}" if customer else "", f" to app {app!r}" if app else ""])
    return f"no subscription{whose} has a period {period}"


def _is_day(text: str) -> bool:
    try:
        day_start_us(text)
    except ValueError:
        return False
    return True


def _write(settings: Settings, wanted: Sequence[Close]) -> None:
    try:
        asyncio.run(_send(settings, wanted))
    except (TimeoutError, KafkaError, OSError) as error:
        raise click.ClickException(
            f"Kafka at {settings.kafka} has not acknowledged all of it ({error!r}). Close again: each counts once"
        ) from None


async def _send(settings: Settings, wanted: Sequence[Close]) -> None:
    producer = AIOKafkaProducer(**kafka_arguments(settings), acks="all", enable_idempotence=True)
    async with asyncio.timeout(WRITE_S_MAX):
        await producer.start()
        try:
            sent = [
                await producer.send(GRANTS_TOPIC, _value(close), key=close.customer.encode(), timestamp_ms=_now_ms())
                for close in wanted
            ]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()


def _value(close: Close) -> bytes:
    fields = {"type": CLOSE, "id": close.id, "customer": close.customer, "app": close.app, "period": close.period}
    return json.dumps(fields, ensure_ascii=False).encode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

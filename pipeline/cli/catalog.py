"""`usage catalog`: check catalogs before anything reads them."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import click

from pipeline.catalog import CatalogError, Fault, check_published, load_catalog
from pipeline.cli.catalog_diff import diff_command
from pipeline.cli.catalog_migrate import migrate_catalog_command
from pipeline.cli.catalog_prices import prices_command
from pipeline.cli.catalog_publish import publish_command
from pipeline.domain.catalog import Catalog


@click.group("catalog")
def catalog_group() -> None:
    """Check catalogs: plans, prices, customers and their terms."""


for command in (diff_command, migrate_catalog_command, prices_command, publish_command):
    catalog_group.add_command(command)


@catalog_group.command("check")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--published",
    type=click.Path(path_type=Path),
    metavar="OLD",
    help="The catalog as it is published. PATH must keep its plan versions that have subscribers, the past of its "
    "customers, and the notice of migrations.",
)
@click.option(
    "--today",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="With --published: the day on which PATH is to be published.  [default: today in UTC]",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def check(context: click.Context, path: Path, published: Path | None, today: datetime | None, form: str) -> None:
    """Report every fault of the catalog PATH, a file or a folder, with its place and what to do.

    Exit code 0 without faults, 1 with faults.
    """
    if today is not None and published is None:
        raise click.UsageError("--today needs --published")
    try:
        faults = () if published is None else tuple(check_published(path, published, _day(today)))
    except CatalogError as error:
        _show(error.faults, form)
        click.echo(f"{published}: the published catalog has faults itself, nothing was compared with it", err=True)
        context.exit(1)
    try:
        catalog = load_catalog(path)
    except CatalogError as error:
        faults = error.faults
    _show(faults, form)
    if faults:
        click.echo(f"{path}: {_count(len(faults), 'fault')}", err=True)
        context.exit(1)
    click.echo(f"{path}: {_summary(catalog)}, no faults", err=True)


def _day(today: datetime | None) -> date:
    return (today or datetime.now(UTC)).date()


def _show(faults: tuple[Fault, ...], form: str) -> None:
    if form == "json":
        click.echo(json.dumps([fault._asdict() for fault in faults], ensure_ascii=False, indent=2))
        return
    for fault in faults:
        click.echo(str(fault))


def _summary(catalog: Catalog) -> str:
    subscriptions = sum(len(each) for each in catalog.subscriptions.values())
    counts = {
        "plan version": len(catalog.plans),
        "app": len(catalog.apps),
        "customer": len(catalog.customers),
        "deployment": len(catalog.deployments),
        "subscription": subscriptions,
        "model": len(catalog.models),
    }
    return ", ".join(_count(number, noun) for noun, number in counts.items())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

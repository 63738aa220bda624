"""`usage catalog diff`: what differs between two catalogs."""

import json
from pathlib import Path

import click

from pipeline.catalog import CatalogError, read_catalog
from pipeline.catalog.diff import Change, catalog_changes
from pipeline.catalog.positions import YamlFile

_TROUBLE = 2
_WORDS = {"added": "+", "removed": "-", "changed": "~"}


@click.command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def diff_command(context: click.Context, old: Path, new: Path, form: str) -> None:
    """Say what differs between the catalogs OLD and NEW, files or folders: plan terms, prices, contracts.

    Formatting, comments, the order of plans and the division into files make no difference. As with diff, the exit code is
    0 when they are the same, 1 when they differ, 2 when one of them cannot be used.
    """
    try:
        changes = catalog_changes(_files(old), _files(new))
    except CatalogError as error:
        click.echo(f"Error: a catalog cannot be used:\n{error}", err=True)
        context.exit(_TROUBLE)
    if form == "json":
        click.echo(json.dumps([change._asdict() for change in changes], ensure_ascii=False, indent=1))
    else:
        for change in changes:
            click.echo(_told(change))
    context.exit(1 if changes else 0)


def _files(path: Path) -> list[YamlFile]:
    files, faults = read_catalog(path)
    if faults:
        raise CatalogError(faults)
    return files


def _told(change: Change) -> str:
    head = f"{_WORDS[change.kind]} {change.section}{f': {change.id}' if change.id else ''} {change.kind}"
    return "\n".join([head, *(f"    {detail}" for detail in change.details)])

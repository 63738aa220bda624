"""`usage import`: bring signed batches of deployments without connectivity into the pipeline."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from aiokafka.errors import KafkaError, ProducerFenced

from pipeline.access.log import KeysUnavailableError
from pipeline.cli.catalogs import load_or_explain
from pipeline.cli.interrupt import cancel_on_signals
from pipeline.cli.options import options_for, required_catalog
from pipeline.cli.progress import progress_bar
from pipeline.domain.catalog import Catalog
from pipeline.intake.import_history import HistoryError
from pipeline.intake.import_report import ImportReport, SpoolReport
from pipeline.intake.imports import import_files
from pipeline.settings import Settings

_KIB = 1024
_RANGES_SHOWN = 5


@click.command("import")
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
)
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be imported, and send nothing.")
@click.option("--strict", is_flag=True, help="Import no batch whose predecessor was not imported.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="How to print the report."
)
@options_for("kafka", "catalog", "log_level")
def import_command(files: tuple[Path, ...], dry_run: bool, strict: bool, form: str, settings: Settings) -> None:
    """Import files of signed batches, as the SDK's offline spool exports them.

    Every batch must be signed with a key of exactly its deployment (`usage signing-keys`), and takes its place in the
    numbered chain of its spool; repeats are skipped, gaps reported. Run it again whenever it was stopped: what is
    imported stays, and comes once.

    Exit code 0: all is imported, now or before. 1: something was refused, or will be rejected. 3: batches are missing.
    """
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what the client logs, it raises too
    catalog = load_or_explain(required_catalog(settings))
    report = ImportReport(dry_run=dry_run)
    try:
        asyncio.run(_import(settings, catalog, files, report, strict=strict))
    except asyncio.CancelledError:
        _print(report, form)
        raise click.Abort from None
    except (KafkaError, KeysUnavailableError, HistoryError, OSError) as error:
        _print(report, form)
        raise click.ClickException(_explain(error, settings)) from None
    _print(report, form)
    sys.exit(report.exit_code)


async def _import(
    settings: Settings, catalog: Catalog, files: Sequence[Path], report: ImportReport, *, strict: bool
) -> None:
    cancel_on_signals(lambda text: click.echo(text, err=True))
    with progress_bar("KiB") as progress:
        reading = progress.add_task("importing", total=sum(file.stat().st_size for file in files) // _KIB)
        done = 0

        def advance(read_bytes: int) -> None:
            nonlocal done
            done += read_bytes
            progress.update(reading, completed=done // _KIB)

        await import_files(settings, catalog, files, report, strict=strict, on_progress=advance)


def _explain(error: Exception, settings: Settings) -> str:
    again = "run the same command again: what is imported is skipped"
    if isinstance(error, ProducerFenced):
        return f"another `usage import` was started meanwhile; when it is done, {again}"
    if isinstance(error, KeysUnavailableError):
        return f"Kafka at {settings.kafka}: {error}"
    if isinstance(error, KafkaError | TimeoutError):
        return f"Kafka at {settings.kafka}: {error!r}; is it up, and is --kafka right? Then {again}"
    if isinstance(error, OSError):
        return f"a file cannot be read: {error}"
    return f"what was imported before cannot be read: {error}"


def _print(report: ImportReport, form: str) -> None:
    if form == "json":
        click.echo(json.dumps(report.as_dict(), indent=2, ensure_ascii=False))
        return
    if report.spools:
        _print_spools([spool for _, spool in sorted(report.spools.items())], dry_run=report.dry_run)
    else:
        click.echo("nothing was imported")
    for refused in report.refused:
        batch = "" if refused.sequence is None else f" batch {refused.sequence} of {refused.deployment!r}:"
        click.echo(f"refused: {refused.file}, line {refused.line}:{batch} {refused.reason}")
    _print_omitted(report.refused_count, len(report.refused), "refused")
    for event in report.rejected:
        place = f"batch {event.sequence} of {event.deployment!r}, event {event.event}"
        click.echo(f"rejected: {place}: {event.code}: {event.message}")
    _print_omitted(report.rejected_count, len(report.rejected), "rejected")
    if report.rejected_count:
        click.echo("Rejected events are in the dead letters: `usage dead-letter list`.")


def _print_spools(spools: Iterable[SpoolReport], *, dry_run: bool) -> None:
    rows = [("deployment", "spool", "to import" if dry_run else "imported", "events", "repeats", "missing")]
    rows += [
        (
            spool.deployment,
            spool.spool,
            _ranges(spool.imported),
            f"{spool.events:,}",
            f"{spool.repeats:,}",
            _ranges(spool.missing),
        )
        for spool in spools
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_omitted(count: int, shown: int, what: str) -> None:
    if count > shown:
        click.echo(f"{what}: {count - shown:,} more")


def _ranges(ranges: Sequence[tuple[int, int]]) -> str:
    """Return ranges of numbers as "1-14, 16", the first few of them."""
    if not ranges:
        return "none"
    texts = [f"{first}" if first == last else f"{first}-{last}" for first, last in ranges[:_RANGES_SHOWN]]
    more = len(ranges) - _RANGES_SHOWN
    return ", ".join(texts) + (f" and {more:,} more" if more > 0 else "")

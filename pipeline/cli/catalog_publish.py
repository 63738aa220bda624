"""`usage catalog publish`: put a catalog version in force."""

import asyncio
import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import click
from aiokafka.errors import KafkaError, ProducerFenced

from pipeline.catalog import CatalogError
from pipeline.cli.options import options_for
from pipeline.published import Publication, publish
from pipeline.settings import Settings


@click.command("publish")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only check, and say which version it would be.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@options_for("kafka")
def publish_command(path: Path, dry_run: bool, form: str, settings: Settings) -> None:
    """Put the catalog PATH, a file or a folder, in force as a version that never changes.

    It is checked against the version in force (as `usage catalog check --published` does). Workers switch to it at the
    position that a record in each partition of billing.grants defines; lines name the version that rated them. To publish
    the version in force again changes nothing.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it logs, it raises too
    try:
        done = asyncio.run(publish(settings, path, datetime.now(UTC).date(), dry_run=dry_run))
    except CatalogError as error:
        raise click.ClickException(f"not published, the catalog has faults:\n{error}") from None
    except ProducerFenced:
        raise click.ClickException(
            "not published: somebody else has published meanwhile; look, and try again"
        ) from None
    except (KafkaError, TimeoutError, OSError) as error:
        raise click.ClickException(
            f"Kafka at {settings.kafka} has not acknowledged it ({error!r}). Publish again: what is in force stays as it is"
        ) from None
    if form == "json":
        click.echo(json.dumps(done._asdict()))
    else:
        click.echo(_told(done, dry_run=dry_run))


def _told(done: Publication, *, dry_run: bool) -> str:
    if dry_run:
        return f"would be version {done.digest}; the latest is {done.before or 'none'}"
    if not done.partitions:
        return f"version {done.digest} is published already: nothing changed"
    return f"published version {done.digest}, in force from here on in {done.partitions} partitions"

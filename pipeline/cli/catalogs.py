"""Loading the catalog for a command."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
from aiokafka.errors import KafkaError

from pipeline.catalog import CatalogError, load_catalog
from pipeline.domain.catalog import Catalog
from pipeline.published import UnknownVersionError, Versions, read_versions
from pipeline.settings import Settings


def load_or_explain(path: Path) -> Catalog:
    """Return the catalog at a path. Raises click.ClickException that lists its faults."""
    try:
        return load_catalog(path)
    except CatalogError as error:
        raise click.ClickException(f"the catalog cannot be used:\n{error}") from None


def catalog_in_force(settings: Settings) -> Catalog:
    """Return the catalog of --catalog or, without one, the version published last. Raises click.ClickException."""
    if settings.catalog is not None:
        return load_or_explain(settings.catalog)
    versions = published_versions(settings)
    if versions.latest is None:
        raise click.ClickException("no catalog is published: give one with --catalog, or `usage catalog publish` it")
    return versions.catalog(versions.latest)


def published_versions(settings: Settings) -> Versions:
    """Return the catalog versions on Kafka. Raises click.ClickException."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it logs, it raises too
    try:
        return asyncio.run(read_versions(settings))
    except (KafkaError, TimeoutError, OSError) as error:
        raise click.ClickException(
            f"the published catalogs cannot be read from Kafka at {settings.kafka} ({error!r}); "
            "start Kafka, or give the catalog with --catalog"
        ) from None


def catalogs_by_digest(settings: Settings) -> Callable[[str], Catalog]:
    """Return what finds the catalog of a line by its digest: --catalog when it is that version, else what is published.

    Raises click.ClickException, as does the returned function for a version that nobody has.
    """
    given = None if settings.catalog is None else load_or_explain(settings.catalog)
    versions: list[Versions] = []

    def catalog_of(digest: str) -> Catalog:
        if given is not None and digest in ("", given.digest):
            return given
        if not versions:
            with ThreadPoolExecutor(1) as thread:  # also where a loop runs
                versions.append(thread.submit(published_versions, settings).result())
        try:
            return versions[0].catalog(digest)
        except UnknownVersionError as error:
            raise click.ClickException(f"{error}: give the file it was read from with --catalog") from None

    return catalog_of

"""Loading the catalog for a command."""

from pathlib import Path

import click

from pipeline.catalog import CatalogError, load_catalog
from pipeline.domain.catalog import Catalog


def load_or_explain(path: Path) -> Catalog:
    """Return the catalog at a path. Raises click.ClickException that lists its faults."""
    try:
        return load_catalog(path)
    except CatalogError as error:
        raise click.ClickException(f"the catalog cannot be used:\n{error}") from None

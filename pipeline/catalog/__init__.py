"""Catalogs: YAML to a checked `pipeline.domain.catalog.Catalog`, or every fault with its place.

Owns: reading files, form (the JSON Schema), references, meaning, migrations of subscriptions, published versions.
Does not own: the catalog's types (domain), looking things up in it (domain, rating).
"""

from pipeline.catalog.faults import CatalogError, Fault
from pipeline.catalog.load import check_catalog, load_catalog
from pipeline.catalog.published import check_published

__all__ = ["CatalogError", "Fault", "check_catalog", "check_published", "load_catalog"]

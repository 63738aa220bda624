"""Catalogs: YAML to a checked `pipeline.domain.catalog.Catalog`, or every fault with its place.

Owns: reading files, form (the JSON Schema), references, meaning, migrations of subscriptions, published versions, digests.
Does not own: the catalog's types (domain), looking things up in it (domain, rating).
"""

from pipeline.catalog.build import catalog_of_document
from pipeline.catalog.document import canonical_document, digest_of
from pipeline.catalog.faults import CatalogError, Fault
from pipeline.catalog.load import check_catalog, load_catalog, read_catalog
from pipeline.catalog.published import check_published

__all__ = [
    "CatalogError",
    "Fault",
    "canonical_document",
    "catalog_of_document",
    "check_catalog",
    "check_published",
    "digest_of",
    "load_catalog",
    "read_catalog",
]

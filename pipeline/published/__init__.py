"""Catalog versions on `billing.catalog`: publish them, read them, follow them (R10.4).

Owns: the topic, and the records that put a version in force.
Does not own: what a catalog is and whether one may follow another (catalog), when a worker switches (stream).
"""

from pipeline.published.follow import VersionFollower
from pipeline.published.publish import Publication, publish, publish_document
from pipeline.published.versions import UnknownVersionError, Versions, read_versions

__all__ = [
    "Publication",
    "UnknownVersionError",
    "VersionFollower",
    "Versions",
    "publish",
    "publish_document",
    "read_versions",
]

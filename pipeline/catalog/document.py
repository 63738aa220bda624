"""A catalog as one document: canonical JSON, named by its digest, and itself a catalog file (R10.4)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.catalog.positions import YamlFile

DIGEST_LENGTH = 32
"""Hexadecimal digits: 128 bits of SHA-256."""


def canonical_document(files: Sequence[YamlFile]) -> bytes:
    """Return files without faults as one JSON object with sorted keys: comments, formatting and files make no difference."""
    merged: dict[str, Any] = {}
    for file in files:
        for key, value in file.root.items():
            merged[key] = [*merged.get(key, ()), *value] if isinstance(value, list) else value
    return json.dumps(merged, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def digest_of(document: bytes) -> str:
    """Return the name of a catalog version."""
    return hashlib.sha256(document).hexdigest()[:DIGEST_LENGTH]


def read_document(document: bytes, name: str = "billing.catalog") -> YamlFile:
    """Return the file that a document is. Raises ValueError when it is no JSON object."""
    root: Any = json.loads(document)
    if not isinstance(root, Mapping):
        raise ValueError("a catalog document is a JSON object")
    return YamlFile(name, root, [])

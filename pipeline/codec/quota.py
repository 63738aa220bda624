"""Quota records, requests and decisions as JSON (R8.3): `schemas/json/usage.quota.v1.schema.json`."""

from typing import Any

import msgspec

from pipeline.domain.decisions import Decision
from pipeline.domain.quota import SCHEMA, QuotaRecord

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(QuotaRecord).decode


def encode_quota(record: QuotaRecord) -> bytes:
    """Return a quota record as the JSON of `usage.quota`."""
    return _encode(record)


def decode_quota(value: bytes) -> QuotaRecord:
    """Return the quota record in a value of `usage.quota`. Raises ValueError for one that we cannot read."""
    try:
        record = _decode(value)
    except msgspec.MsgspecError as error:
        raise ValueError(f"a quota record cannot be read: {error}") from None
    if record.schema != SCHEMA:
        raise ValueError(f"a quota record has schema {record.schema}, we read {SCHEMA}: update this program")
    return record


def decision_as_dict(decision: Decision) -> dict[str, Any]:
    """Return a decision as plain JSON values."""
    plain: dict[str, Any] = msgspec.to_builtins(decision)
    return plain


def quota_schema() -> dict[str, Any]:
    """Return the JSON Schema of a quota record; `schemas/json/` holds it for others, a test holds both equal."""
    (schema,), parts = msgspec.json.schema_components([QuotaRecord], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **parts.pop(schema["$ref"].rpartition("/")[2]),
        "$defs": parts,
    }

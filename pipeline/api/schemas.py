"""JSON Schemas of what goes in and out; the codec decides, these say the same for readers and their tools (R2.2, R9.1)."""

from typing import Any

from pipeline.domain.events import COUNT_MAX, RELEASE_TYPE, RESERVE_TYPE, STRING_MAX, TTL_S_MAX, USAGE_TYPE
from pipeline.domain.grants import MATCH_KEYS

Schema = dict[str, Any]

_NO_CONTROL = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_AMOUNT = r"^0*[0-9]{1,18}(\.[0-9]{1,12})?$"
_PRIORITY_MAX = 10**12
_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": STRING_MAX, "pattern": _NO_CONTROL}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": COUNT_MAX}
_INSTANT: Schema = {"type": "string", "format": "date-time", "maxLength": STRING_MAX}
_MONEY: Schema = {"type": "string", "maxLength": STRING_MAX, "pattern": _AMOUNT}


def _optional(schema: Schema, default: Any = None) -> Schema:
    """Return the schema of a field that may be left out or null (R2.2)."""
    either = {"anyOf": [schema, {"type": "null"}]}
    return either if default is None else either | {"default": default}


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    return {"type": "object", "required": list(required), "properties": required | (optional or {})}


_WHAT: Schema = dict.fromkeys(("environment", "workspace", "feature", "model", "unit"), _TEXT)
_HOW_MUCH: Schema = {
    "quantity": _optional(_COUNT, 1),
    "input_tokens": _optional(_COUNT, 0),
    "cached_input_tokens": _optional(_COUNT, 0),
    "output_tokens": _optional(_COUNT, 0),
    "cost": _optional(_MONEY | {"description": "as the provider reports it, a decimal number in a string"}),
    "route": {"enum": ["routed", "byok", None], "default": "routed"},
    "request_type": _optional(_TEXT),
}
_USAGE_ONLY: Schema = {
    "status": {"enum": ["succeeded", "failed", None], "default": "succeeded"},
    "operation": _optional(_TEXT),
    "reservation": _optional(_TEXT | {"description": "id of the reservation that this event commits"}),
}
_RESERVE_ONLY: Schema = {
    "status": {"enum": ["succeeded", None]},
    "operation": {"type": "null"},
    "reservation": {"type": "null"},
}
_TTL: Schema = {"type": "integer", "minimum": 1, "maximum": TTL_S_MAX, "description": "seconds until it expires"}


def _event(kind: str, data: Schema, description: str) -> Schema:
    attributes = {
        "specversion": {"const": "1.0"},
        "type": {"const": kind},
        "id": _TEXT | {"description": "made once for each fact, kept over retries"},
        "source": _TEXT | {"description": "the deployment"},
        "subject": _TEXT | {"description": "the customer"},
        "time": _INSTANT,
        "data": data,
    }
    return _object(attributes) | {"description": description}


_GRANT: Schema = _object(
    {"type": {"const": "grant"}, "id": _TEXT, "customer": _TEXT, "quantity": _COUNT},
    {
        "match": _optional(
            {
                "type": "object",
                "properties": {key: {"type": "array", "items": _TEXT} for key in MATCH_KEYS},
                "additionalProperties": False,
            }
        ),
        "credits": _optional(
            {"type": "object", "propertyNames": _TEXT, "additionalProperties": _COUNT | {"minimum": 1}}
        ),
        "priority": _optional({"type": "integer", "minimum": -_PRIORITY_MAX, "maximum": _PRIORITY_MAX}, 100),
        "effective_at": _optional(_INSTANT),
        "expires_at": _optional(_INSTANT),
    },
)
_TOPUP: Schema = _object({"type": {"const": "topup"}, "id": _TEXT, "customer": _TEXT, "amount": _MONEY})

_RESULT: Schema = _object(
    {
        "index": {"type": "integer", "description": "place in the request, from 0"},
        "id": {"type": ["string", "null"]},
        "status": {"enum": ["accepted", "rejected"]},
    },
    {"code": {"type": "string"}, "message": {"type": "string"}},
)
_RESULTS: Schema = {"type": "array", "items": {"$ref": "#/components/schemas/Result"}}

COMPONENTS: Schema = {
    "UsageEvent": _event(USAGE_TYPE, _object(_WHAT, _HOW_MUCH | _USAGE_ONLY), "Something was used (R2.2)."),
    "ReserveEvent": _event(
        RESERVE_TYPE, _object(_WHAT | {"ttl_s": _TTL}, _HOW_MUCH | _RESERVE_ONLY), "Hold what a call will use (R9)."
    ),
    "ReleaseEvent": _event(RELEASE_TYPE, _object({"reservation": _TEXT}), "A reservation is not needed any more (R9)."),
    "Event": {
        "oneOf": [{"$ref": f"#/components/schemas/{name}Event"} for name in ("Usage", "Reserve", "Release")],
        "description": "A CloudEvent 1.0.",
    },
    "Grant": {"oneOf": [_GRANT, _TOPUP]},
    "Result": _RESULT | {"description": "What became of an event; code and message say why it is rejected."},
    "Collected": _object(
        {
            "accepted": {"type": "integer"},
            "rejected": {"type": "integer"},
            "message": {"type": "string"},
            "results": _RESULTS,
        }
    ),
    "Granted": _object({"id": {"type": "string"}, "customer": {"type": "string"}, "status": {"const": "accepted"}}),
    "Health": _object({"status": {"type": "string"}}),
    "Problem": _object(
        {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "request_id": {"type": "string", "description": "stands in the server's log too"},
        },
        {"results": _RESULTS},
    )
    | {"description": "An error (RFC 9457)."},
}
"""Name to schema, for OpenAPI's components."""

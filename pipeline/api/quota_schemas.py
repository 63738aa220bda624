"""What OpenAPI says of the quota routes."""

from typing import Any

from pipeline.api.contents import JSON
from pipeline.api.describe import problems
from pipeline.domain.events import COUNT_MAX, STRING_MAX
from pipeline.quota.requests import COUNTS, REQUIRED, ROUTES

QUOTES_MAX = 100
"""Requests of one quote."""
Schema = dict[str, Any]

_TEXT: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": STRING_MAX,
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$",
}
_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": COUNT_MAX}
_COST: Schema = {
    "type": ["string", "null"],
    "maxLength": STRING_MAX,
    "pattern": r"^0*[0-9]{1,18}(\.[0-9]{1,12})?$",
    "description": "your own estimate, a decimal number in a string; without it the tokens count, at the model's price",
}
_BOOLEAN: Schema = {"type": "boolean"}
_STRING: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_PICO: Schema = {"type": "integer", "description": "in 10^-12 of the currency"}
_MONEY: Schema = {"type": "string", "description": "the same amount in the currency, with all its decimals"}
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_AGE: Schema = {"type": "integer", "description": "how long ago this was last known to be everything"}


def _object(properties: Schema, **more: Any) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties} | more


def _or_null(schema: Schema) -> Schema:
    return schema | {"type": [schema["type"], "null"]}


def _list_of(properties: Schema) -> Schema:
    return {"type": "array", "items": _object(properties)}


_REQUEST = {
    "type": "object",
    "description": "A call that may be made, as its usage event would tell it (R2.2).",
    "required": ["customer", *REQUIRED],
    "properties": dict.fromkeys(("customer", *REQUIRED), _TEXT)
    | {name: _COUNT | {"default": default} for name, default in COUNTS.items()}
    | {
        "cost": _COST,
        "route": {"enum": [*ROUTES, None], "default": "routed"},
        "reservation": _or_null(_TEXT) | {"description": "id of the reservation that the call will commit"},
    },
    "additionalProperties": False,
}
_LEFT: Schema = {"id": _STRING, "scope_value": _STRING}
_POOL = _LEFT | {
    "left": _INTEGER | {"description": "in the pool's own balance, of which a unit costs `weight`"},
    "weight": _INTEGER,
    "included": _or_null(_INTEGER) | {"description": "what the window began with; null for a grant"},
    "until_us": _or_null(_INTEGER),
    "until": _or_null(_INSTANT),
}
_BUDGET = _LEFT | {
    "blocks": _BOOLEAN,
    "until_us": _INTEGER,
    "until": _INSTANT,
    "left": _or_null(_INTEGER) | {"description": "units, of a budget of units"},
    "quantity": _or_null(_INTEGER),
    "left_pico": _or_null(_PICO),
    "left_amount": _or_null(_MONEY),
    "amount_pico": _or_null(_PICO),
    "amount": _or_null(_MONEY),
}
_AMOUNTS = ("cost", "cost_charged", "margin", "surcharge", "charge", "wallet")
_ANSWER = _object(
    {
        "customer": _STRING,
        "version": _INTEGER | {"description": "of the quota record that this rests on"},
        "age_ms": _AGE,
        "currency": _STRING,
        "allowed": _BOOLEAN,
        "sentence": _STRING | {"description": "for the customer"},
        "reason": _or_null(_STRING) | {"description": "why it may not go (docs/quota.md)"},
        "limit_id": _or_null(_STRING) | {"description": "the budget that denies"},
        "kind": _STRING,
        "policy": _or_null(_STRING),
        "quantity": _INTEGER,
        "included": _INTEGER,
        "granted": _INTEGER,
        "overage": _INTEGER,
        "blocked": _INTEGER,
    }
    | {f"{name}_pico": _PICO for name in _AMOUNTS}
    | dict.fromkeys(_AMOUNTS, _MONEY)
    | {
        "surcharges": _list_of({"id": _STRING, "pico": _PICO, "amount": _MONEY}),
        "pools": _list_of(_POOL),
        "budgets": _list_of(_BUDGET),
        "plan": _or_null(_STRING),
        "plan_version": _or_null(_INTEGER),
        "period": _or_null(_STRING),
    },
    description="Whether the call may go, what is left before it, and what it would cost.",
)
_QUOTA = _object(
    {
        "customer": _STRING,
        "age_ms": _AGE,
        "record": {"type": "object", "description": "schemas/json/usage.quota.v1.schema.json"},
        "view": {"type": "object", "description": "what of the catalog decides about this customer, for gates"},
    }
)


def _body(schema: Schema) -> Schema:
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}}}}


def _answer(schema: Schema, description: str) -> dict[int | str, Any]:
    return {200: {"description": description, "content": {JSON: {"schema": schema}}}}


_QUOTES: Schema = {"type": "array", "minItems": 1, "maxItems": QUOTES_MAX, "items": _REQUEST}
_POSTED = problems(400, 401, 403, 404, 408, 413, 415, 422, 429, 503)
_READ = problems(401, 403, 404, 503)
_STREAM = {"text/event-stream": {"schema": _object({"event": _STRING, "data": _STRING})}}

GET_QUOTA: dict[str, Any] = {"responses": _READ | _answer(_QUOTA, "What is known of the customer.")}
POST_CHECK: dict[str, Any] = {
    "responses": _POSTED | _answer(_ANSWER, "The decision, whatever it is."),
    "openapi_extra": _body(_REQUEST),
}
POST_QUOTE: dict[str, Any] = {
    "responses": _POSTED
    | _answer(_object({"quotes": {"type": "array", "items": _ANSWER}}), "An answer for each, in their order."),
    "openapi_extra": _body({"anyOf": [_REQUEST, _QUOTES]}),
}
GET_STREAM: dict[str, Any] = {
    "responses": problems(401, 403, 404, 429, 503)
    | {200: {"description": "Events `view`, `quota`, `age` and `end` (docs/quota.md).", "content": _STREAM}}
}

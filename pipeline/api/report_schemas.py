"""What OpenAPI says of the report routes."""

from typing import Any

from pipeline.api.contents import JSON
from pipeline.api.describe import problems
from pipeline.billing.exports import FORMS

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_BOOLEAN: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}
_OBJECTS: Schema = {"type": "array", "items": _OBJECT}
_DAY: Schema = {"type": "string", "format": "date"}
_MONTH: Schema = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"}
_PICO: Schema = {"type": "integer", "description": "in 10^-12 of the currency; may be wider than 64 bits"}
_CENTS: Schema = {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$", "description": "rounded to the cent (R5.4)"}
_EXACT: Schema = {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{12}$", "description": "with all its decimals"}
_STATE: Schema = {"enum": ["open", "closed", "frozen"]}
_NOT_FOR_CUSTOMERS = "for builders and operators only"


def _object(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    return {"type": "object", "required": list(required), "properties": required | (optional or {}), **more}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_COUNTS: Schema = dict.fromkeys(("quantity", "included", "granted", "overage", "blocked"), _INTEGER)
_TOKENS: Schema = dict.fromkeys(("input_tokens", "cached_input_tokens", "output_tokens"), _INTEGER)
_STATEMENT_OF: Schema = {"customer": _STRING, "app": _STRING, "period": _DAY}
_PART = _object(_COUNTS | {"charge_pico": _PICO, "charge": _EXACT} | _TOKENS)
_ROW = _object(
    {"feature": _STRING, "unit": _STRING} | _COUNTS | {"charge_pico": _PICO, "amount": _CENTS},
    {"detail": _list(_PART)},
)
_STATEMENT = _object(
    _STATEMENT_OF | {"rows": _list(_ROW), "total": _CENTS},
    {"state": _STATE},
    description="A statement; the total is the sum of the rounded rows (R8.1, R5.4).",
)
_STATEMENTS = _object({"statements": _list(_object(_STATEMENT_OF | {"total": _CENTS}, {"state": _STATE}))})
_COSTS: Schema = {
    f"{name}_pico": _PICO | {"description": _NOT_FOR_CUSTOMERS}
    for name in ("cost", "cost_charged", "margin", "provider_reward", "builder_earnings")
}
_LINE = _object(
    {"customer": _STRING, "seq": _INTEGER, "app": _STRING, "period": _DAY, "feature": _STRING, "unit": _STRING}
    | {"charge_pico": _PICO},
    _COSTS,
    description="A line with the fields of R7.1.",
)
_LINES = _object({"lines": _list(_LINE), "next_after_seq": _or_null(_INTEGER)})
_DAILY = _object({"since": _DAY, "until": _DAY, "by": _list(_STRING), "rows": _list(_OBJECT)})
_PAYOUT = _object(
    {"id": _STRING, "builder": _STRING, "month": _MONTH, "state": _STRING, "paid": _CENTS, "payable": _CENTS},
    {"parts": _OBJECTS},
)
_PAYOUTS = _object({"month": _MONTH, "currency": _STRING, "payouts": _list(_PAYOUT)})
_REWARDS = _object({"month": _MONTH, "rows": _OBJECTS, "providers": _OBJECTS})
_EXPLAINED_LINE = _object(
    {"customer": _STRING, "seq": _INTEGER, "line": _OBJECT, "pools": _OBJECTS, "steps": _OBJECTS},
    {"price": _or_null(_OBJECT), "surcharges": _OBJECTS, "verified": _BOOLEAN},
)


def _answers(schema: Schema, description: str, *errors: int) -> dict[str, Any]:
    content = {JSON: {"schema": schema}}
    return {
        "responses": problems(401, 403, 422, 503, *errors) | {200: {"description": description, "content": content}}
    }


_FILES: Schema = {form.media_type.partition(";")[0]: {"schema": {}} for form in FORMS.values()}

GET_STATEMENTS = _answers(_STATEMENTS, "The statements that the caller may see.", 404)
GET_STATEMENT = _answers(_STATEMENT, "The statement.", 404)
GET_LINES = _answers(_LINES, "A page of lines, in the order of their numbers.", 404)
GET_EXPORT: dict[str, Any] = {
    "responses": problems(401, 403, 404, 422, 503)
    | {200: {"description": "The statement as a file (docs/exports.md).", "content": _FILES}}
}
GET_DAILY = _answers(_DAILY, "Usage by what `by` names.", 404)
GET_EXPLAIN_LINE = _answers(_EXPLAINED_LINE, "The line, step by step.", 404, 409)
GET_EXPLAIN_CHANGE = _answers(_OBJECT, "The difference and its parts.", 404)
GET_PAYOUTS = _answers(_PAYOUTS, "The payouts of the month.", 404, 409)
GET_REWARDS = _answers(_REWARDS, "What providers are owed.")
GET_MARGIN = _answers(_OBJECT, "Customers by cost against revenue.", 404)

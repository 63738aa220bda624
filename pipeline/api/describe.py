"""What OpenAPI says of the routes: bodies, answers and errors."""

import json
from typing import Any

from pipeline.api.contents import BATCH, JSON, NDJSON, SINGLE
from pipeline.api.problems import PROBLEM_TYPE
from pipeline.api.schemas import COMPONENTS
from pipeline.settings.resources import schema_path

_WORDS = {
    400: "The body cannot be read.",
    401: "There is no valid API key.",
    403: "The API key may not do this.",
    404: "There is no such thing, or none that the API key may know of.",
    408: "The body came too slowly.",
    409: "The request is sound, but at odds with the catalog or the clock.",
    413: "The body is too large, or holds too many events.",
    415: "The content type or encoding is not understood.",
    422: "The content or a parameter is not valid.",
    429: "Too much is being taken in at once; Retry-After says when to try again.",
    503: "Kafka, ClickHouse or the API keys are not there; Retry-After says when to try again. Repeating is safe.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of a route's errors, for its `responses`."""
    return {
        status: {"description": _WORDS[status], "content": {PROBLEM_TYPE: {"schema": _ref("Problem")}}}
        for status in statuses
    }


def complete(openapi: dict[str, Any]) -> dict[str, Any]:
    """Return an OpenAPI document with the schemas that the routes refer to, and no error in FastAPI's own form."""
    schemas = openapi.setdefault("components", {}).setdefault("schemas", {})
    for replaced in ("HTTPValidationError", "ValidationError"):
        schemas.pop(replaced, None)
    schemas.update(COMPONENTS)
    for methods in openapi["paths"].values():
        for operation in methods.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                operation["responses"]["422"] = problems(422)[422]
    return openapi


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(schema: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": _ref(schema)}}}


def _body(content: dict[str, Any], description: str) -> dict[str, Any]:
    return {"requestBody": {"required": True, "description": description, "content": content}}


def _example(*parts: str) -> Any:
    return json.loads(schema_path("examples", *parts).read_text())


_USAGE = _example("usage.events", "usage.json")
_EVENT = {"schema": _ref("Event"), "example": _USAGE}
_EVENTS = {"schema": {"type": "array", "minItems": 1, "items": _ref("Event")}, "example": [_USAGE]}
_NDJSON = {"schema": {"type": "string", "minLength": 1}}

POST_EVENTS: dict[str, Any] = {
    "responses": problems(400, 401, 403, 408, 409, 413, 415, 422, 429, 503)
    | {202: _answer("Collected", "Kafka has acknowledged every event that is called accepted.")},
    "openapi_extra": _body(
        {
            SINGLE: _EVENT,
            BATCH: _EVENTS,
            JSON: {"schema": {"anyOf": [_EVENT["schema"], _EVENTS["schema"]]}, "example": _USAGE},
            NDJSON: _NDJSON,
        },
        "CloudEvents 1.0: one, an array, or one a line (NDJSON), at most 10,000. With application/json and the attributes in ce-* headers "
        "the body is the event's data (binary content mode). Content-Encoding: gzip is understood.",
    ),
}
POST_GRANTS: dict[str, Any] = {
    "responses": problems(400, 401, 403, 408, 409, 413, 415, 422, 429, 503)
    | {202: _answer("Granted", "Kafka has acknowledged it.")},
    "openapi_extra": _body(
        {JSON: {"schema": _ref("Grant"), "example": _example("billing.grants", "topup.json")}},
        "A grant or a top-up (R2.5).",
    ),
}
GET_HEALTH: dict[str, Any] = {"responses": {200: _answer("Health", "It lives.")}}
GET_READY: dict[str, Any] = {"responses": problems(503) | {200: _answer("Health", "It can serve.")}}

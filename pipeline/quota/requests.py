"""Requests as programs write them: the fields of a usage event, with the same checks (R2.2)."""

from collections.abc import Mapping
from typing import Any

from pipeline.domain.events import check_amount, check_count, check_string, json_type
from pipeline.domain.quota import Request
from pipeline.domain.rejects import INVALID_FIELD, MALFORMED, Rejected

REQUIRED = ("deployment", "environment", "workspace", "feature", "model", "unit")
COUNTS = {"quantity": 1, "input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0}
"""Optional fields, and what they are when absent or null."""
ROUTES = ("routed", "byok")
OPTIONAL = (*COUNTS, "cost", "route", "reservation")


def parse_request(value: object) -> tuple[str, Request]:
    """Return the customer and the request in a decoded JSON object. Raises Rejected: malformed or invalid_field."""
    if not isinstance(value, dict):
        raise Rejected(MALFORMED, f"a request is a JSON object, not {json_type(value)}")
    unknown = sorted(value.keys() - {"customer", *REQUIRED, *OPTIONAL})
    if unknown:
        raise Rejected(INVALID_FIELD, f"{unknown[0][:80]}: there is no such field")
    return _required(value, "customer"), request_of(value)


def request_of(fields: Mapping[str, Any]) -> Request:
    """Return the request that some fields make; None counts as absent. Raises Rejected: invalid_field."""
    route = fields.get("route")
    if route is not None and route not in ROUTES:
        raise Rejected(INVALID_FIELD, f"route: must be {' or '.join(ROUTES)}")
    cost, reservation = fields.get("cost"), fields.get("reservation")
    return Request(
        deployment=_required(fields, "deployment"),
        environment=_required(fields, "environment"),
        workspace=_required(fields, "workspace"),
        feature=_required(fields, "feature"),
        model=_required(fields, "model"),
        unit=_required(fields, "unit"),
        quantity=_count(fields, "quantity"),
        input_tokens=_count(fields, "input_tokens"),
        cached_input_tokens=_count(fields, "cached_input_tokens"),
        output_tokens=_count(fields, "output_tokens"),
        cost_pico=None if cost is None else check_amount("cost", cost),
        byok=route == "byok",
        reservation=None if reservation is None else check_string("reservation", reservation),
    )


def _required(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        raise Rejected(INVALID_FIELD, f"{name}: required")
    return check_string(name, value)


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    return COUNTS[name] if value is None else check_count(name, value)

"""Read records of SPEC.md section 2, for the naive model: plain checks, one after the other."""

import json
import re
import unicodedata
from fractions import Fraction
from typing import Any

from tests.model.naive_time import parse_rfc3339

MOST = 10**12
NOT_AN_INTEGER = object()  # stands for a JSON number that no field may hold
SINGLE, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
REQUIRED = ["environment", "workspace", "feature", "model", "unit"]
COUNTS = {"quantity": 1, "input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0}
EVENT_FIELDS = [*REQUIRED, *COUNTS, "cost", "route", "status", "operation", "request_type"]
MATCH_KEYS = ["unit", "workspace", "feature", "model", "class", "deployment", "environment"]


class Rejected(Exception):  # noqa: N818 - the word of the spec
    """An event, grant or whole record is rejected with this code (R2.3)."""

    def __init__(self, code: str):
        super().__init__(code)
        self.code = code


class TwiceTheSameKey(dict):
    """A JSON object in which one key stands twice."""


def object_of(pairs: list[tuple[str, Any]]) -> dict:
    """Build a JSON object, and keep in mind that a key came twice."""
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else TwiceTheSameKey(plain)


def integer_of(digits: str) -> Any:
    """Read a JSON integer; one far beyond every limit is no integer that a field may hold."""
    return int(digits) if len(digits) < 100 else NOT_AN_INTEGER


def parse(payload: str | None) -> Any:
    """Read JSON, or raise Rejected malformed."""
    try:
        (payload or "").encode()
        return json.loads(
            payload or "",
            object_pairs_hook=object_of,
            parse_int=integer_of,
            parse_float=lambda _: NOT_AN_INTEGER,
            parse_constant=lambda _: float("nan"),
        )
    except (ValueError, RecursionError):
        raise Rejected("malformed") from None


def refuse_odd_json(value: Any) -> None:
    """Raise Rejected malformed on a doubled key, NaN, Infinity or a lone surrogate anywhere inside."""
    todo = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, TwiceTheSameKey | float):
            raise Rejected("malformed")
        if isinstance(part, str) and any(0xD800 <= ord(letter) <= 0xDFFF for letter in part):
            raise Rejected("malformed")
        if isinstance(part, dict):
            todo += [*part.keys(), *part.values()]
        if isinstance(part, list):
            todo += part


def events_of(record: dict) -> list:
    """Return the events of a record, or raise Rejected for the whole of it (R2.1)."""
    value = parse(record.get("payload"))
    said = (record.get("headers") or {}).get("content-type")
    if said is not None:
        media = said.split(";")[0].strip().lower()
        if media != (BATCH if isinstance(value, list) else SINGLE):
            raise Rejected("malformed")
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value:
        raise Rejected("malformed")
    if len(record["payload"].encode()) > 2**20 or len(value) > 10_000:
        raise Rejected("too_large")
    return value


def read_event(value: Any) -> dict:
    """Check one event (R2.2) and return it flat, absent fields filled in."""
    if not isinstance(value, dict):
        raise Rejected("malformed")
    refuse_odd_json(value)
    data = value.get("data")
    good = value.get("specversion") == "1.0" and value.get("type") == "ai.usage.v1" and isinstance(data, dict)
    if not good:
        raise Rejected("invalid_field")
    event: dict[str, Any] = {name: text(value.get(name)) for name in ["id", "source", "subject"]}
    event["time"] = time(value.get("time"))
    for name in REQUIRED:
        event[name] = text(data.get(name))
    for name, default in COUNTS.items():
        event[name] = default if data.get(name) is None else integer(data[name], 0, MOST)
    event["cost"] = None if data.get("cost") is None else amount(data["cost"])
    event["route"] = one_of(["routed", "byok"], data.get("route"))
    event["status"] = one_of(["succeeded", "failed"], data.get("status"))
    for name in ["operation", "request_type"]:
        event[name] = None if data.get(name) is None else text(data[name])
    return event


def read_grant(record: dict) -> dict:
    """Check one record of billing.grants (R2.5) and return the topup or grant."""
    value = parse(record.get("payload"))
    if not isinstance(value, dict):
        raise Rejected("malformed")
    refuse_odd_json(value)
    gift: dict[str, Any] = {"type": value.get("type"), "id": text(value.get("id"))}
    gift["customer"] = text(value.get("customer"))
    if gift["type"] == "topup":
        return {**gift, "amount": amount(value.get("amount"))}
    if gift["type"] != "grant":
        raise Rejected("invalid_field")
    gift["quantity"] = integer(value.get("quantity"), 0, MOST)
    gift["match"] = match(value.get("match"))
    gift["credits"] = None if value.get("credits") is None else weights(value["credits"])
    gift["priority"] = 100 if value.get("priority") is None else integer(value["priority"], -MOST, MOST)
    for name in ["effective_at", "expires_at"]:
        gift[name] = None if value.get(name) is None else time(value[name])
    return gift


def text(value: Any) -> str:
    """Return a string of 1..128 characters without a control character (R2.2)."""
    if not isinstance(value, str) or not 1 <= len(value) <= 128:
        raise Rejected("invalid_field")
    if any(unicodedata.category(letter) == "Cc" for letter in value):
        raise Rejected("invalid_field")
    return value


def time(value: Any) -> Any:
    """Return an RFC 3339 time in UTC."""
    moment = parse_rfc3339(text(value))
    if moment is None:
        raise Rejected("invalid_field")
    return moment


def integer(value: Any, least: int, most: int) -> int:
    """Return a JSON integer within the limits; true and 1.0 are none."""
    if type(value) is not int or not least <= value <= most:
        raise Rejected("invalid_field")
    return value


def amount(value: Any) -> int:
    """Return a decimal string >= 0 in picodollars."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]{1,12})?", text(value), re.ASCII) or Fraction(value) >= 10**18:
        raise Rejected("invalid_field")
    return int(Fraction(value) * 10**12)


def one_of(allowed: list[str], value: Any) -> str:
    """Return the value, or the first allowed one when it is absent."""
    if value is None:
        return allowed[0]
    if not isinstance(value, str) or value not in allowed:
        raise Rejected("invalid_field")
    return value


def match(value: Any) -> dict:
    """Return a grant's match: known keys with lists of strings (R4.2)."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Rejected("invalid_field")
    for key, values in value.items():
        if key not in MATCH_KEYS or not isinstance(values, list):
            raise Rejected("invalid_field")
        for one in values:
            text(one)
    return value


def weights(value: Any) -> dict:
    """Return a grant's credits: units with integer weights from 1."""
    if not isinstance(value, dict):
        raise Rejected("invalid_field")
    for unit, weight in value.items():
        text(unit)
        integer(weight, 1, MOST)
    return value

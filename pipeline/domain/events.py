"""Usage events, reservations and their releases: their form and their validation (R2.2, R9.1)."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.domain.instants import parse_instant
from pipeline.domain.money import PICO, parse_decimal
from pipeline.domain.rejects import INVALID_FIELD, MALFORMED, Rejected

COUNT_MAX = 10**12
AMOUNT_LIMIT_PICO = 10**18 * PICO
"""Amounts stay below it: so that their sums fit Int128 and Decimal(38, 12) (docs/rules.md, R2.2)."""
STRING_MAX = 128
USAGE_TYPE = "ai.usage.v1"
RESERVE_TYPE = "ai.usage.reserve.v1"
RELEASE_TYPE = "ai.usage.release.v1"
TYPES = (USAGE_TYPE, RESERVE_TYPE, RELEASE_TYPE)
TTL_S_MAX = 86_400
"""How long a reservation may be asked for (R9.1)."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ROUTES = ("routed", "byok")
_STATUSES = ("succeeded", "failed")


class UsageEvent(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A fact that a deployment reports. Its identity is (customer, source, id) (R6.1).

    `time_us` is in microseconds since 1970; `cost_pico` is None when the deployment does not report one. The order of the
    fields is part of stored digests (`content_of`).
    """

    id: str
    source: str
    customer: str
    time_us: int
    environment: str
    workspace: str
    feature: str
    model: str
    unit: str
    quantity: int = 1
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_pico: int | None = None
    byok: bool = False
    failed: bool = False
    operation: str | None = None
    request_type: str | None = None


class CommittingEvent(UsageEvent, frozen=True, gc=False, array_like=True):
    """The usage event of a call for which something was reserved (R9.4).

    A type of its own, so that the stored digests of all other events stay what they are.
    """

    reservation: str = ""
    """Id of the reservation, of the same source."""


class Reserve(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A request to hold what a call will use until it is reported (R9.1). Its id is the reservation's."""

    usage: UsageEvent
    """What is to be held: the event that the call is expected to cause."""
    ttl_s: int

    @property
    def id(self) -> str:
        """Return the reservation's id."""
        return self.usage.id

    @property
    def source(self) -> str:
        """Return the deployment."""
        return self.usage.source

    @property
    def customer(self) -> str:
        """Return the customer."""
        return self.usage.customer

    @property
    def time_us(self) -> int:
        """Return the event's time, in microseconds since 1970."""
        return self.usage.time_us


class Release(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Word that a reservation of the same source is not needed any more (R9.5)."""

    id: str
    source: str
    customer: str
    time_us: int
    reservation: str


Event = UsageEvent | Reserve | Release
"""What stands in `usage.events`."""


def parse_event(value: object) -> Event:
    """Return the event in a decoded JSON value. Raises Rejected: malformed or invalid_field (R2.2, R9.1)."""
    if not isinstance(value, dict):
        raise Rejected(MALFORMED, f"an event is a JSON object, not {json_type(value)}")
    require_constant(value, "specversion", "1.0")
    kind = value.get("type")
    if kind not in TYPES:
        raise Rejected(INVALID_FIELD, f'type: must be "{USAGE_TYPE}" (or "{RESERVE_TYPE}", "{RELEASE_TYPE}")')
    identity = required_string(value, "id")
    source = required_string(value, "source")
    customer = required_string(value, "subject")
    time_us = required_instant(value, "time")
    data = value.get("data")
    if not isinstance(data, dict):
        raise Rejected(INVALID_FIELD, "data: required, a JSON object")
    if kind == RELEASE_TYPE:
        return Release(identity, source, customer, time_us, required_string(data, "reservation", "data."))
    usage = _usage_event(identity, source, customer, time_us, data)
    reservation = optional_string(data, "reservation")
    if kind == RESERVE_TYPE:
        return _reserve(usage, reservation, data)
    return usage if reservation is None else committing(usage, reservation)


def committing(usage: UsageEvent, reservation: str) -> CommittingEvent:
    """Return a usage event as one that commits a reservation."""
    return CommittingEvent(*(*msgspec.structs.astuple(usage), reservation))


def _reserve(usage: UsageEvent, reservation: str | None, data: Mapping[str, Any]) -> Reserve:
    for name, given in (("operation", usage.operation), ("reservation", reservation)):
        if given is not None:
            raise Rejected(INVALID_FIELD, f"data.{name}: a reservation has none; the usage event that commits it may")
    if usage.failed:
        raise Rejected(INVALID_FIELD, "data.status: a reservation is for a call that is still to be made")
    ttl_s = data.get("ttl_s")
    if type(ttl_s) is not int or not 1 <= ttl_s <= TTL_S_MAX:
        raise Rejected(INVALID_FIELD, f"data.ttl_s: required, an integer of seconds, 1 to {TTL_S_MAX}")
    return Reserve(usage, ttl_s)


def _usage_event(identity: str, source: str, customer: str, time_us: int, data: Mapping[str, Any]) -> UsageEvent:
    return UsageEvent(
        id=identity,
        source=source,
        customer=customer,
        time_us=time_us,
        environment=required_string(data, "environment", "data."),
        workspace=required_string(data, "workspace", "data."),
        feature=required_string(data, "feature", "data."),
        model=required_string(data, "model", "data."),
        unit=required_string(data, "unit", "data."),
        quantity=optional_count(data, "quantity", 1),
        input_tokens=optional_count(data, "input_tokens", 0),
        cached_input_tokens=optional_count(data, "cached_input_tokens", 0),
        output_tokens=optional_count(data, "output_tokens", 0),
        cost_pico=_optional_cost(data),
        byok=_optional_choice(data, "route", _ROUTES) == "byok",
        failed=_optional_choice(data, "status", _STATUSES) == "failed",
        operation=optional_string(data, "operation"),
        request_type=optional_string(data, "request_type"),
    )


def json_type(value: object) -> str:
    """Return the JSON name of a decoded value's type, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def require_constant(fields: Mapping[str, Any], name: str, expected: str) -> None:
    """Reject unless a field is present and exactly what is expected."""
    if fields.get(name) != expected:
        raise Rejected(INVALID_FIELD, f'{name}: must be "{expected}"')


def check_string(name: str, value: object) -> str:
    """Return a string of 1..128 characters without control characters, or reject (R2.2)."""
    if not isinstance(value, str):
        raise Rejected(INVALID_FIELD, f"{name}: must be a string, not {json_type(value)}")
    if not 1 <= len(value) <= STRING_MAX:
        raise Rejected(INVALID_FIELD, f"{name}: must have 1 to {STRING_MAX} characters, has {len(value)}")
    if not value.isprintable() and _CONTROL.search(value):
        raise Rejected(INVALID_FIELD, f"{name}: must not hold control characters")
    return value


def required_string(fields: Mapping[str, Any], name: str, prefix: str = "") -> str:
    """Return a required string field, or reject."""
    value = fields.get(name)
    if value is None:
        raise Rejected(INVALID_FIELD, f"{prefix}{name}: required")
    return check_string(prefix + name, value)


def optional_string(fields: Mapping[str, Any], name: str, prefix: str = "data.") -> str | None:
    """Return an optional string field, None when absent or null, or reject."""
    value = fields.get(name)
    return None if value is None else check_string(prefix + name, value)


def required_instant(fields: Mapping[str, Any], name: str) -> int:
    """Return a required RFC 3339 time in microseconds, or reject."""
    text = required_string(fields, name)
    try:
        return parse_instant(text)
    except ValueError as error:
        raise Rejected(INVALID_FIELD, f"{name}: {error}") from None


def check_count(name: str, value: object) -> int:
    """Return an integer 0..10^12, or reject (R2.2). A number with a point or exponent is no integer."""
    if type(value) is not int:
        raise Rejected(INVALID_FIELD, f"{name}: must be an integer")
    if not 0 <= value <= COUNT_MAX:
        raise Rejected(INVALID_FIELD, f"{name}: must be 0 to {COUNT_MAX}, is {value}")
    return value


def optional_count(fields: Mapping[str, Any], name: str, default: int) -> int:
    """Return an optional integer 0..10^12, the default when absent or null, or reject."""
    value = fields.get(name)
    return default if value is None else check_count(f"data.{name}", value)


def check_amount(name: str, value: object) -> int:
    """Return a decimal string >= 0 with at most 12 decimals as picodollars, or reject (R2.2)."""
    text = check_string(name, value)
    try:
        pico = parse_decimal(text)
    except ValueError as error:
        raise Rejected(INVALID_FIELD, f"{name}: {error}") from None
    if pico >= AMOUNT_LIMIT_PICO:
        raise Rejected(INVALID_FIELD, f"{name}: must be below {AMOUNT_LIMIT_PICO // PICO}")
    return pico


def _optional_cost(data: Mapping[str, Any]) -> int | None:
    value = data.get("cost")
    return None if value is None else check_amount("data.cost", value)


def _optional_choice(data: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = data.get(name)
    if value is None:
        return choices[0]
    if value not in choices:
        raise Rejected(INVALID_FIELD, f"data.{name}: must be {' or '.join(choices)}")
    return str(value)

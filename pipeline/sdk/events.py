"""The events that the SDK makes: their ids, their form, and the same validation as the worker's (R2.2, R9.1)."""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict

import msgspec

from pipeline.domain.events import RELEASE_TYPE, RESERVE_TYPE, USAGE_TYPE, parse_event
from pipeline.domain.instants import format_instant
from pipeline.domain.rejects import INVALID_FIELD, Rejected

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_encode = msgspec.json.Encoder().encode


class InvalidEvent(ValueError):  # noqa: N818 - an event is invalid, which need not be an error of the host
    """An event that the worker would reject; the message names the field. Raised by a client with `strict=True`."""


class UsageFields(TypedDict, total=False):
    """What an event says beside who sends it. workspace, feature, model and unit are required (R2.2)."""

    workspace: str
    feature: str
    model: str
    unit: str
    quantity: int | None
    input_tokens: int | None
    """Without the cached ones."""
    cached_input_tokens: int | None
    output_tokens: int | None
    cost: str | Decimal | None
    """What the provider says that it cost; never a float."""
    route: str | None
    status: str | None
    operation: str | None
    request_type: str | None
    id: str | None
    """Made by the client when absent. One who gives it gives `time` too: a retry with another time is another fact (R6.1)."""
    time: datetime | str | None
    """When it happened, with an offset; now when absent."""


DATA_FIELDS = UsageFields.__annotations__.keys() - {"id", "time"}


class Sender(NamedTuple):
    """Who sends: a deployment of a customer in an environment."""

    deployment: str
    customer: str
    environment: str


def usage_event(sender: Sender, fields: Mapping[str, Any], reservation: str | None = None) -> tuple[str, bytes]:
    """Return the id and the JSON of a usage event; one with a `reservation` commits it. Raises InvalidEvent."""
    extra = {} if reservation is None else {"reservation": reservation}
    return _event(sender, USAGE_TYPE, fields, _data(sender, fields) | extra)


def reserve_event(sender: Sender, fields: Mapping[str, Any], ttl_s: int) -> tuple[str, bytes]:
    """Return the id and the JSON of a reservation (R9.1). Raises InvalidEvent."""
    return _event(sender, RESERVE_TYPE, fields, _data(sender, fields) | {"ttl_s": ttl_s})


def release_event(sender: Sender, reservation: str) -> tuple[str, bytes]:
    """Return the id and the JSON of a release of a reservation (R9.5)."""
    return _event(sender, RELEASE_TYPE, {}, {"reservation": reservation})


def new_id() -> str:
    """Return an id that nobody else makes: a UUID of version 7, whose order is that of time."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (time.time_ns() // 1_000_000 << 80) | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _data(sender: Sender, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of an event, without the optional fields that are absent."""
    data: dict[str, Any] = {"environment": sender.environment}
    for name, value in fields.items():
        if value is not None and name not in ("id", "time"):
            if name not in DATA_FIELDS:
                raise InvalidEvent(f"{name}: there is no such field")
            data[name] = value
    if isinstance(cost := data.get("cost"), Decimal):
        data["cost"] = f"{cost:f}"
    return data


def _event(sender: Sender, kind: str, fields: Mapping[str, Any], data: dict[str, Any]) -> tuple[str, bytes]:
    identity = fields.get("id")
    if identity is None:
        identity = new_id()
    event = {
        "specversion": "1.0",
        "type": kind,
        "id": identity,
        "source": sender.deployment,
        "subject": sender.customer,
        "time": _time(fields.get("time")),
        "data": data,
    }
    try:
        parse_event(event)
        return identity, _encode(event)
    except Rejected as rejected:
        raise InvalidEvent(rejected.message) from None
    except (TypeError, ValueError, OverflowError) as error:  # half of a surrogate pair; a type that JSON does not have
        raise InvalidEvent(f"{INVALID_FIELD}: {error}") from None


def _time(given: datetime | str | None) -> object:
    if given is None:
        return format_instant(time.time_ns() // 1000)
    if isinstance(given, datetime):
        if given.tzinfo is None:
            raise InvalidEvent("time: a datetime needs a time zone")
        return format_instant((given - _EPOCH) // _MICROSECOND)
    return given

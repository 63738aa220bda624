"""The fast way from bytes to usage events, for JSON that is plainly in order; its reference is `parse_event` (R2.2).

It says nothing about what it cannot vouch for: that goes the reference's way, which knows all codes and messages.
"""

from typing import Annotated, Literal

import msgspec
import numpy as np
import orjson
from msgspec import UNSET, UnsetType
from msgspec.structs import astuple

from pipeline.codec.json_input import DEPTH_MAX, has_spaced_colon, keys_and_depth
from pipeline.domain.events import AMOUNT_LIMIT_PICO, COUNT_MAX, STRING_MAX, UsageEvent, committing
from pipeline.domain.instants import parse_instant
from pipeline.domain.money import parse_decimal

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=STRING_MAX)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
_KEYS_MAX = 22
_LONG_BYTES = 4096
_KEY_END = int.from_bytes(b'":', "little")


class _Data(msgspec.Struct, gc=False):
    environment: _Text
    workspace: _Text
    feature: _Text
    model: _Text
    unit: _Text
    quantity: _Count | UnsetType | None = UNSET
    input_tokens: _Count | UnsetType | None = UNSET
    cached_input_tokens: _Count | UnsetType | None = UNSET
    output_tokens: _Count | UnsetType | None = UNSET
    cost: _Text | UnsetType | None = UNSET
    route: Literal["routed", "byok"] | UnsetType | None = UNSET
    status: Literal["succeeded", "failed"] | UnsetType | None = UNSET
    operation: _Text | UnsetType | None = UNSET
    request_type: _Text | UnsetType | None = UNSET
    reservation: _Text | UnsetType | None = UNSET


class _Event(msgspec.Struct, gc=False):
    specversion: Literal["1.0"]
    type: Literal["ai.usage.v1"]
    id: _Text
    source: _Text
    subject: _Text
    time: _Text
    data: _Data


_decode = msgspec.json.Decoder(list[_Event] | _Event).decode


def plain_events(value: bytes) -> list[UsageEvent] | UsageEvent | None:
    """Return the events of a JSON array, or that of an object; None when it is not plain that this is what they are.

    Plain are events that the reference accepts, without backslashes and certain characters: so no string can hold a
    control character; and without a key that stands twice in one object.
    """
    if b"\\" in value or b"\x7f" in value or b"\xc2" in value:
        return None
    try:
        decoded = _decode(value)
        events, keys = _usage_events([decoded] if isinstance(decoded, _Event) else decoded)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if keys != _keys_written(value) and not _names_each_key_once(value):
        return None
    return events[0] if isinstance(decoded, _Event) else events


def _usage_events(batch: list[_Event]) -> tuple[list[UsageEvent], int]:
    """Return the events, and how many of the keys that we know they have. Raises ValueError for a time or an amount."""
    events = []
    keys = _KEYS_MAX * len(batch)
    for wire in batch:
        fields = astuple(wire.data)
        (
            environment,
            workspace,
            feature,
            model,
            unit,
            quantity,
            input_tokens,
            cached_input_tokens,
            output_tokens,
            cost,
            route,
            status,
            operation,
            request_type,
            reservation,
        ) = fields
        if UNSET in fields or None in fields:
            keys -= fields.count(UNSET)
            quantity = 1 if quantity is UNSET or quantity is None else quantity
            input_tokens, cached_input_tokens, output_tokens = (
                input_tokens or 0,
                cached_input_tokens or 0,
                output_tokens or 0,
            )
            cost, operation, request_type = cost or None, operation or None, request_type or None
            reservation = reservation or None
        event = UsageEvent(
            wire.id,
            wire.source,
            wire.subject,
            parse_instant(wire.time),
            environment,
            workspace,
            feature,
            model,
            unit,
            quantity,
            input_tokens,
            cached_input_tokens,
            output_tokens,
            None if cost is None else _amount(cost),
            route == "byok",
            status == "failed",
            operation,
            request_type,
        )
        events.append(event if reservation is None else committing(event, reservation))
    return events, keys


def _amount(text: str) -> int:
    pico = parse_decimal(text)
    if pico >= AMOUNT_LIMIT_PICO:
        raise ValueError("too large")
    return pico


def _keys_written(value: bytes) -> int:
    """Return how many keys a JSON text without backslashes names; -1 when that cannot be counted so simply."""
    if has_spaced_colon(value):
        return -1
    if len(value) < _LONG_BYTES:
        return value.count(b'":')
    even = np.frombuffer(value, "<u2", len(value) // 2)
    odd = np.frombuffer(value, "<u2", (len(value) - 1) // 2, 1)
    return int(np.count_nonzero(even == _KEY_END) + np.count_nonzero(odd == _KEY_END))


def _names_each_key_once(value: bytes) -> bool:
    """Return whether a text with keys that we do not know is in order, as the reference sees it."""
    try:
        decoded = orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    keys, depth = keys_and_depth(decoded)
    return depth < DEPTH_MAX and keys == _keys_written(value)  # less, since it may be an element of a batch

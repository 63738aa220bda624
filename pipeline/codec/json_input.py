"""Strict JSON: what a sender may write and what it may not (R2.1)."""

import json
import re
from typing import Any

import orjson

from pipeline.domain.rejects import MALFORMED, Rejected

_SPACE = b" \t\r\n"
_DIGITS_MAX = 19
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACED_COLON = re.compile(rb'"[ \t\r\n]+:')
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""A string that is cut off reaches to the end: looking for its end from each of its quotes anew would take hours."""
_OPENING = b"[{"
_CLOSING = b"]}"
DEPTH_MAX = 128
"""Levels of objects and arrays; an event has three. The same for every writer's white space (R3.3)."""
_TOO_DEEP = f"nested deeper than {DEPTH_MAX} levels"


class Faulty:
    """Stands where a value cannot be told: an object names a key twice, or a number or string is not JSON."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def parse_json(value: bytes) -> Any:
    """Return a decoded JSON value. Raises Rejected (malformed).

    An object with a fault somewhere in it comes back as `Faulty`, so that the other events of a batch can go on.
    """
    try:
        decoded = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return _parse_tolerantly(value, str(error))
    keys, depth = keys_and_depth(decoded)
    if depth > DEPTH_MAX:
        raise Rejected(MALFORMED, _TOO_DEEP)
    if _names_each_key_once(value, keys):
        return decoded
    return _parse_tolerantly(value, "a key stands twice")


def parse_sound_json(value: bytes) -> Any:
    """Return an element of a batch; None when its JSON has a fault, or may have one, that concerns the whole batch."""
    try:
        decoded = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    keys, depth = keys_and_depth(decoded)
    return decoded if depth < DEPTH_MAX and _names_each_key_once(value, keys) else None


def _parse_tolerantly(value: bytes, reason: str) -> Any:
    """Return what can be told of a JSON text that is not flawless; slow, and for such texts only."""
    if not value.lstrip(_SPACE).startswith((b"{", b"[")):
        raise Rejected(MALFORMED, f"not JSON: {reason}")
    _check_depth(value)
    try:
        decoded = json.loads(value.decode(), object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer)
    except ValueError:
        raise Rejected(MALFORMED, f"not JSON: {reason}".replace("\n", " ")) from None
    if isinstance(decoded, list):
        return [_fault_in(each) or each for each in decoded]
    return _fault_in(decoded) or decoded


def keys_and_depth(decoded: Any) -> tuple[int, int]:
    """Return how many keys the objects of a decoded value have, in all, and how many levels of objects and arrays."""
    keys = depth = 0
    level = [decoded]
    while True:
        below: list[Any] = []
        nested = False
        for value in level:
            kind = type(value)
            if kind is dict:
                keys += len(value)
                below += value.values()
                nested = True
            elif kind is list:
                below += value
                nested = True
        if not nested:
            return keys, depth
        depth += 1
        level = below


def _names_each_key_once(value: bytes, keys: int) -> bool:
    """Return whether no object of a JSON text names a key twice; False may be wrong, True is not.

    A quote before a colon ends a key, or stands escaped in a string. So there are at least as many as keys written,
    and when there are only as many as keys decoded, none was written twice.
    """
    return value.count(b'":') == keys and not has_spaced_colon(value)


def has_spaced_colon(value: bytes) -> bool:
    """Return whether a quote may be followed by space and a colon; False is certain, True may be a string's content."""
    if b" " in value or b"\n" in value or b"\t" in value or b"\r" in value:
        return _SPACED_COLON.search(value) is not None
    return False


def _check_depth(value: bytes) -> None:
    """Reject a text that is nested too deeply, before anything recurses into it."""
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(value):
        first = value[token.start()]
        if first in _OPENING:
            depth += 1
            if depth > DEPTH_MAX:
                raise Rejected(MALFORMED, _TOO_DEEP)
        elif first in _CLOSING:
            depth -= 1


def _integer(digits: str) -> int | float:
    """Return an integer; one that is far out of every range as a float, as orjson does."""
    return int(digits) if len(digits) <= _DIGITS_MAX else float(digits)


def _constant(name: str) -> Faulty:
    return Faulty(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> Any:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            return Faulty(f"the key {key[:80]!r} stands twice in one object")
        fault = _fault_in(key) or _fault_in(value)
        if fault is not None:
            return fault
        result[key] = value
    return result


def _fault_in(value: Any) -> Faulty | None:
    """Return the fault of a value that is no array of events; objects have been looked through already."""
    if isinstance(value, Faulty):
        return value
    if isinstance(value, str) and not value.isascii() and _SURROGATE.search(value):
        return Faulty("a string holds half of a surrogate pair")
    if isinstance(value, list):
        return next((fault for each in value if (fault := _fault_in(each)) is not None), None)
    return None

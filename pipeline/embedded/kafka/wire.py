"""Encode and decode Kafka messages from field lists (the non-flexible versions of the protocol)."""

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

_FIXED = {
    name: struct.Struct(code)
    for name, code in {"bool": ">?", "i8": ">b", "i16": ">h", "i32": ">i", "i64": ">q"}.items()
}
_I16, _I32 = _FIXED["i16"], _FIXED["i32"]
_EMPTY: dict[str, Any] = {"bool": False, "i8": 0, "i16": 0, "i32": 0, "i64": 0, "string": None, "bytes": None}

Message = dict[str, Any]


class Field(NamedTuple):
    """One field: a scalar, or (with `fields`) a structure; `repeated` makes it an array; `since` a protocol version."""

    name: str
    kind: str
    repeated: bool
    fields: tuple["Field", ...]
    since: int


def fields(text: str) -> tuple[Field, ...]:
    """Parse a field list: a line is `name kind [N+]`; `name [` ... `] [N+]` is an array of structures."""
    lines = iter([line.strip() for line in text.strip().splitlines()])
    return _parse(lines.__next__)[0]


def _parse(next_line: Callable[[], str]) -> tuple[tuple[Field, ...], int]:
    found: list[Field] = []
    while True:
        try:
            words = next_line().split()
        except StopIteration:
            return tuple(found), 0
        since = int(words[-1][:-1]) if words[-1].endswith("+") else 0
        if words[0] == "]":
            return tuple(found), since
        name, kind = words[0], words[1]
        if kind == "[":
            inner, since = _parse(next_line)
            found.append(Field(name, "struct", True, inner, since))
        else:
            found.append(Field(name, kind.removeprefix("[]"), kind.startswith("[]"), (), since))


class Api(NamedTuple):
    """One API: its key, the versions spoken, and the fields of its requests and answers."""

    key: int
    name: str
    oldest: int
    newest: int
    request: tuple[Field, ...]
    answer: tuple[Field, ...]


def api(key: int, name: str, versions: tuple[int, int], request: str, answer: str) -> Api:
    """Return an API whose messages are given as field lists."""
    return Api(key, name, *versions, fields(request), fields(answer))


class Reader:
    """Reads one request from its bytes."""

    def __init__(self, data: memoryview) -> None:
        """Begin at the first byte of `data`."""
        self.data = data
        self.at = 0

    def scalar(self, kind: str) -> Any:
        """Read one value; bytes come as a view of the request.

        Raises:
            ValueError: the request ends before the value does.

        """
        if kind in _FIXED:
            form = _FIXED[kind]
            return form.unpack(self._take(form.size))[0]
        length = self.scalar("i16" if kind == "string" else "i32")
        if length < 0:
            return None
        value = self._take(length)
        return bytes(value).decode() if kind == "string" else value

    def message(self, layout: tuple[Field, ...], version: int) -> Message:
        """Read the fields that `version` has."""
        return {field.name: self._field(field, version) for field in layout if field.since <= version}

    def _field(self, field: Field, version: int) -> Any:
        if not field.repeated:
            return self.scalar(field.kind)
        count = self.scalar("i32")
        if count < 0:
            return None
        if count > len(self.data):
            raise ValueError(f"an array of {count} in a request of {len(self.data)} bytes")
        if field.kind == "struct":
            return [self.message(field.fields, version) for _ in range(count)]
        return [self.scalar(field.kind) for _ in range(count)]

    def _take(self, length: int) -> memoryview:
        end = self.at + length
        if end > len(self.data):
            raise ValueError("the request ends too early")
        value = self.data[self.at : end]
        self.at = end
        return value


def write(out: bytearray, layout: tuple[Field, ...], version: int, message: Mapping[str, Any]) -> None:
    """Append the fields that `version` has; a field that `message` lacks is written as zero, null or empty."""
    for field in layout:
        if field.since > version:
            continue
        if not field.repeated:
            _write_scalar(out, field.kind, message.get(field.name, _EMPTY[field.kind]))
            continue
        items = message.get(field.name, ())
        out += _I32.pack(len(items))
        for item in items:
            if field.kind == "struct":
                write(out, field.fields, version, item)
            else:
                _write_scalar(out, field.kind, item)


def _write_scalar(out: bytearray, kind: str, value: Any) -> None:
    if kind in _FIXED:
        out += _FIXED[kind].pack(value)
    elif kind == "string":
        encoded = None if value is None else value.encode()
        out += _I16.pack(-1 if encoded is None else len(encoded))
        out += encoded or b""
    else:
        out += _I32.pack(-1 if value is None else len(value))
        out += value or b""

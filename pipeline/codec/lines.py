"""Lines, alerts and closings to JSON (R7.1, R6.10, R10.3)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import astuple

from pipeline.domain.alerts import Alert
from pipeline.domain.closings import Closing
from pipeline.domain.lines import Line

_encoder = msgspec.json.Encoder()
_decode_row = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_names = msgspec.json.Decoder(list[str]).decode
_NAMES = tuple(field.encode_name for field in msgspec.structs.fields(Line))
_BESIDE_RULE = ("version", "catalog", "provider")
"""What our lines have beyond R7.1."""
COLUMNS_HEADER = "columns"
COLUMNS = _encoder.encode(_NAMES)
"""The names of what `encode_rows` writes, as a JSON array: those of R7.1, and the `version` that says which rating of a
line is the latest (DESIGN 4.7), and the `catalog` and `provider` (R10.4, R8.2)."""


BLOCK_LINES_MIN = 400
"""A block is made of so many lines as soon as they are there: while they are still in the processor's caches."""
BLOCK_LINES_MAX = 2 * BLOCK_LINES_MIN
BLOCK_BYTES_MAX = 1 << 20
"""A block of the usual lines has about 200 KiB."""


class LineBlock(NamedTuple):
    """Lines as a record of usage.lines holds them."""

    rows: bytes
    """A JSON array a line, in the order of COLUMNS."""
    lines: int
    """How many."""


def line_fields(line: Line) -> dict[str, Any]:
    """Return a line's fields under the names of R7.1. Amounts are integers that may exceed 64 bits."""
    fields = _fields(line)
    for name in _BESIDE_RULE:
        del fields[name]
    return fields


def _fields(line: Line) -> dict[str, Any]:
    fields = dict(zip(_NAMES, astuple(line), strict=True))
    fields["pools"] = msgspec.to_builtins(list(line.pools))
    return fields


def encode_rows(lines: Sequence[Line]) -> bytes:
    """Return lines as NDJSON, each one JSON array in the order of COLUMNS, without a line end after the last.

    Half as many bytes as objects have: for the worker, Kafka, the sink and ClickHouse alike.
    """
    return _encoder.encode_lines(lines)[:-1]


def encode_blocks(lines: Sequence[Line]) -> Iterator[LineBlock]:
    """Yield blocks that hold lines in order; none is larger than BLOCK_BYTES_MAX unless a single line is."""
    for start in range(0, len(lines), BLOCK_LINES_MAX):
        part = lines[start : start + BLOCK_LINES_MAX]
        rows = encode_rows(part)
        if len(rows) <= BLOCK_BYTES_MAX or len(part) == 1:
            yield LineBlock(rows, len(part))
        else:
            yield from encode_blocks(part[: len(part) // 2])
            yield from encode_blocks(part[len(part) // 2 :])


def encode_lines(lines: Iterable[Line]) -> bytes:
    """Return lines as NDJSON, each one JSON object with the fields of COLUMNS, without a line end after the last."""
    return _encoder.encode_lines([_fields(line) for line in lines])[:-1]


def objects_of(value: bytes, columns: bytes | None) -> list[bytes]:
    """Return the lines in a record of usage.lines, each as one JSON object; `columns` is the record's header, if it has one.

    Raises ValueError when they are not of the form that the header says.
    """
    texts = value.split(b"\n")
    if columns is None:
        return texts
    try:
        keys = [_encoder.encode(name) + b":" for name in _decode_names(columns)]
        rows = [_decode_row(text) for text in texts]
    except msgspec.MsgspecError as error:
        raise ValueError(f"this is no line: {error}") from None
    return [b"{%b}" % b",".join([key + bytes(value) for key, value in zip(keys, row, strict=True)]) for row in rows]


def alert_fields(alert: Alert) -> dict[str, Any]:
    """Return an alert's fields."""
    return {
        "customer": alert.customer,
        "period": alert.period,
        "id": alert.id,
        "scope_value": alert.scope_value,
        "threshold": alert.threshold,
        "seq": alert.seq,
    }


def encode_alert(alert: Alert) -> bytes:
    """Return an alert as one JSON object."""
    return _encoder.encode(alert_fields(alert))


def encode_closing(closing: Closing) -> bytes:
    """Return a closing as one JSON object (R10.3)."""
    return _encoder.encode(closing)

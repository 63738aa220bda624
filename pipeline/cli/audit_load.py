"""Log records into the scratch tables of an audit, in large inserts and without parsing them."""

import asyncio
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.billing.audit import Scratch
from pipeline.codec.lines import objects_of

INSERT_BYTES = 16 << 20
_ROWS_MAX = 50_000


class LineLoader:
    """Loads records of lines (NDJSON) with their places; keeps at most INSERT_BYTES of them."""

    def __init__(self, scratch: Scratch, table: str) -> None:
        self._scratch = scratch
        self._table = table
        self._waiting: list[tuple[str, bytes]] = []
        self._bytes = 0
        self._needles = _needles(scratch.scope.customer)
        self.lines = 0
        self.unreadable: list[str] = []
        """Places of lines that are no lines."""

    async def add(self, partition: int, offset: int, value: bytes, columns: bytes | None = None, *, tail: bool) -> None:
        """Take the lines of one record and its header `columns`; with a customer in scope, only if it names the customer."""
        if self._needles and not any(needle in value for needle in self._needles):
            return
        try:
            value = b"\n".join(objects_of(value.strip(), columns))
        except ValueError:
            value = b""
        if not value.startswith(b"{"):
            self.unreadable.append(f"{partition} offset {offset}")
            return
        head = b'{"log_partition":%d,"log_offset":%d,"tail":%s,' % (partition, offset, b"true" if tail else b"false")
        # A line break within a JSON text is escaped, so one before a brace always begins a line.
        placed = head + value[1:].replace(b"\n{", b"\n" + head)
        self.lines += value.count(b"\n") + 1
        self._waiting.append((f"{partition} offset {offset}", placed))
        self._bytes += len(placed)
        if self._bytes >= INSERT_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Insert what waits."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting:
            await asyncio.to_thread(self._load, waiting)

    def _load(self, pieces: list[tuple[str, bytes]]) -> None:
        """Insert pieces together; when ClickHouse refuses them, halve them, to find out which are no lines."""
        try:
            self._scratch.load(self._table, b"\n".join(piece for _, piece in pieces))
        except ClickHouseError as error:
            if not is_about_data(error):
                raise
            if len(pieces) == 1:
                place, piece = pieces[0]
                lines = piece.split(b"\n")
                if len(lines) == 1:
                    self.unreadable.append(place)
                    return
                pieces = [(f"{place} line {number}", line) for number, line in enumerate(lines, start=1)]
            middle = len(pieces) // 2
            self._load(pieces[:middle])
            self._load(pieces[middle:])


class RowLoader:
    """Loads rows of a scratch table."""

    def __init__(self, scratch: Scratch, table: str) -> None:
        self._scratch = scratch
        self._table = table
        self._waiting: list[dict[str, Any]] = []

    async def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take rows."""
        self._waiting += rows
        if len(self._waiting) >= _ROWS_MAX:
            await self.flush()

    async def flush(self) -> None:
        """Insert what waits."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            await asyncio.to_thread(self._scratch.load_rows, self._table, waiting)


def is_about_data(error: ClickHouseError) -> bool:
    """Tell whether ClickHouse refused the bytes, not the request."""
    return getattr(error, "code", None) in _DATA_CODES


_DATA_CODES = frozenset({6, 25, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 321, 349, 407, 467})
"""ClickHouse's codes of what cannot be parsed as a row (see pipeline/sink/store.py)."""


def digest_of(original: bytes) -> str:
    """Return a digest by which two dead letters' bytes are compared."""
    return hashlib.blake2b(original, digest_size=16).hexdigest()


def _needles(customer: str | None) -> tuple[bytes, ...]:
    """Return how a customer's id may stand in a line."""
    if customer is None:
        return ()
    return tuple({json.dumps(customer, ensure_ascii=escaped).encode(errors="replace") for escaped in (False, True)})

# ruff: noqa: S608 - pieces of SQL are constants of ours, values are bound as parameters
"""A database for one audit, in which the logs are laid beside ClickHouse's lines; dropped at the end.

Millions of lines are compared by ClickHouse itself, sorted and spilled to disk where they must be; none of it passes
through Python but the bytes of the log. Temporary tables would not do: they live in a session, and so on one server.
"""

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Self

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.billing.audit.findings import Check, Finding, Scope

LEFT_BEHIND = timedelta(days=2)
"""A scratch database that is older was left by an audit that was killed."""
NO_MORE: Mapping[str, Any] = MappingProxyType({})
_PREFIX = "usage_audit_"
_STAMP = "%Y%m%d%H%M%S"
_NAME = re.compile(_PREFIX + r"([0-9]{14})_[0-9a-f]{8}")
_SPILL = {
    # Grouping and sorting go to disk beyond this: an audit must not need more memory when there are more lines.
    "max_bytes_before_external_group_by": 400_000_000,
    "max_bytes_before_external_sort": 400_000_000,
    "optimize_aggregation_in_order": 1,
    "max_execution_time": 0,
}
_LOAD = {
    # As the sink does, so that the same bytes become the same row.
    "date_time_input_format": "best_effort",
    "date_time_overflow_behavior": "throw",
    "input_format_skip_unknown_fields": 1,
    "async_insert": 0,
    "max_execution_time": 0,
}
_SHOW = {
    "output_format_json_quote_64bit_integers": 0,
    "date_time_output_format": "iso",
    "max_execution_time": 0,
}
_PLACE = "log_partition UInt32, log_offset UInt64, tail Bool"
_COMPACT = "customer String, seq UInt64, version UInt64, period Date, digest UInt128"
_TABLES = {
    "found": f"{_COMPACT}, posted_at DateTime64(6, 'UTC'), identity UInt128, provable Bool",
    "wanted_logged": f"{_COMPACT}, tail Bool, times UInt32",
    "wanted_rated": f"{_COMPACT}, tail Bool, times UInt32",
    "differences_logged": "customer String, seq UInt64, kind LowCardinality(String)",
    "differences_rated": "customer String, seq UInt64, kind LowCardinality(String)",
    "copies": "customer String, seq UInt64, copies UInt64, in_scope Bool",
    "heads": "customer String, seq UInt64, log_offset UInt64, late Bool",
}
_LETTERS = (
    "customer String, topic LowCardinality(String), partition UInt32, offset UInt64, place Int64, "
    "code LowCardinality(String), original String, log_partition UInt32, log_offset UInt64, tail Bool"
)
"""`place` is the index in a batch, -1 for a whole record; `original` a digest of the bytes."""


class Scratch:
    """The scratch database of one audit, and the queries over it; use it in a `with`."""

    def __init__(self, client: Client, scope: Scope) -> None:
        self.client = client
        self.scope = scope
        self.name = f"{_PREFIX}{datetime.now(UTC).strftime(_STAMP)}_{secrets.token_hex(4)}"
        self.columns: tuple[str, ...] = ()
        """Those of usage.usage_lines, in order."""

    def __enter__(self) -> Self:
        self._drop_left_behind()
        described = self.client.query(
            "SELECT name, type FROM system.columns WHERE database = 'usage' AND table = 'usage_lines' ORDER BY position"
        ).result_rows
        self.columns = tuple(name for name, _ in described)
        lines = ", ".join(f"`{name}` {kind}" for name, kind in described) + f", {_PLACE}"
        self.client.command(f"CREATE DATABASE {self.name}")
        try:
            for table in ("logged", "rated"):
                self._create(table, lines, "customer, seq, version")
            for table, columns in _TABLES.items():
                self._create(table, columns, "customer, seq")
            for table in ("letters", "rejected"):
                self._create(table, _LETTERS, "topic, partition, offset, place")
        except BaseException:
            self._drop(self.name)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ClickHouseError):  # what went wrong before matters more; the next audit tidies up
            self._drop(self.name)

    def _create(self, table: str, columns: str, order: str) -> None:
        self.client.command(f"CREATE TABLE {self.name}.{table} ({columns}) ENGINE = MergeTree ORDER BY ({order})")

    def _drop(self, name: str) -> None:
        self.client.command(f"DROP DATABASE IF EXISTS {name} SYNC")

    def _drop_left_behind(self) -> None:
        for (name,) in self.client.query(
            "SELECT name FROM system.databases WHERE startsWith(name, {prefix:String})", parameters={"prefix": _PREFIX}
        ).result_rows:
            found = _NAME.fullmatch(name)
            if found and datetime.now(UTC) - datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC) > LEFT_BEHIND:
                self._drop(name)

    def digest(self) -> str:
        """Return the SQL of a digest over every column of a line."""
        columns = ", ".join(f"`{name}`" for name in self.columns)
        return f"reinterpretAsUInt128(sipHash128(formatRow('RowBinary', {columns})))"

    def load(self, table: str, ndjson: bytes) -> None:
        """Insert JSON lines into a scratch table. Raises ClickHouseError when one of them is no row."""
        self.client.raw_insert(f"{self.name}.{table}", insert_block=ndjson, fmt="JSONEachRow", settings=_LOAD)

    def load_rows(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows into a scratch table."""
        self.load(table, b"\n".join(json.dumps(row).encode() for row in rows))

    def run(self, sql: str, more: Mapping[str, Any] = NO_MORE) -> None:
        """Run a statement that returns nothing; `{db}` is the scratch database, `more` are parameters."""
        self.client.command(self._named(sql), parameters={**self.scope.parameters(), **more}, settings=_SPILL)

    def rows(self, sql: str, more: Mapping[str, Any] = NO_MORE) -> Sequence[Sequence[Any]]:
        """Return the rows of a query; `{db}` is the scratch database, `more` are parameters."""
        return self.client.query(
            self._named(sql), parameters={**self.scope.parameters(), **more}, settings=_SPILL
        ).result_rows

    def dicts(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query as JSON shows them: times as text, amounts as integers of any size."""
        answer = self.client.raw_query(
            self._named(sql), parameters=self.scope.parameters(), settings=_SPILL | _SHOW, fmt="JSONEachRow"
        )
        return [json.loads(row) for row in answer.splitlines()]

    def collect(self, check: Check, sql: str) -> None:
        """Count the rows of a query, and name the first: each is (customer, seq, what, expected, found)."""
        ((count,),) = self.rows(f"SELECT count() FROM ({sql})")
        if not count:
            return
        check.count += count
        room = self.scope.findings_max - len(check.findings)
        for row in self.rows(f"SELECT * FROM ({sql}) ORDER BY 1, 2 LIMIT {max(0, room)}"):
            customer, seq, what, expected, found = row
            check.findings.append(Finding(customer, seq, what, expected, found))

    def _named(self, sql: str) -> str:
        return sql.replace("{db}", self.name)

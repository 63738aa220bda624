"""The sink's side of ClickHouse: insert lines, note positions, and tell a refusal from an absence."""

import json
import logging
import re
from collections.abc import AsyncIterator, Mapping

import aiohttp
from aiokafka import TopicPartition
from clickhouse_connect.driver import create_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError, Error

from pipeline.settings import Settings
from pipeline.settings.clients import clickhouse_arguments
from pipeline.sink.blocks import Document, Span

log = logging.getLogger(__name__)

LINES_TABLE = "usage.usage_lines_in"
CONNECT_TIMEOUT_S = 5
INSERT_TIMEOUT_S = 120
"""Longer than any sound insert takes; after that the answer is unknown, and the block is sent again."""

_REFUSED_CODES = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        25,  # CANNOT_PARSE_ESCAPE_SEQUENCE
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        130,  # CANNOT_READ_ARRAY_FROM_TEXT
        131,  # TOO_LARGE_STRING_SIZE
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        407,  # DECIMAL_OVERFLOW
        467,  # CANNOT_PARSE_BOOL
        469,  # VIOLATED_CONSTRAINT
    }
)
"""Errors that lie in the bytes: the same bytes are refused for ever."""

_FAILURES = (ClickHouseError, aiohttp.ClientError, OSError, TimeoutError)
_CLICKHOUSE_WORDS = re.compile(r"DB::Exception: (.*?)(?: \(version |\Z)", re.DOTALL)
_EXPRESSION = re.compile(r"Expression: .*?(?=Column values: )", re.DOTALL)
_REASON_LENGTH_MAX = 500
_UNKNOWN_FIELDS_MAX = 100
_UNKNOWN_FIELD = re.compile(
    r"Unknown field found (?:while parsing \w+ format: (.{1,128}?)(?::|$)|in \w+ header: '(.{1,128}?)')"
)

_INSERT_SETTINGS = {
    "date_time_input_format": "best_effort",
    # A day that does not exist is refused, not stored as another one.
    "date_time_overflow_behavior": "throw",
    # Nothing may answer "inserted" before it is: neither a queue nor a log of blocks seen before (EVIDENCE 5).
    "async_insert": 0,
    "insert_deduplicate": 0,
    "materialized_views_ignore_errors": 0,
    # Whole blocks come at once, and readers fold versions: to do either before the insert costs CPU and brings nothing.
    "input_format_parallel_parsing": 0,
    "optimize_on_insert": 0,
    "input_format_with_names_use_header": 1,
}


class Refused(Exception):  # noqa: N818 - the word for it
    """ClickHouse will never take these bytes; the message says why."""


class Away(Exception):  # noqa: N818 - the word for it
    """ClickHouse cannot be reached, does not answer, or cannot take anything now; the outcome may be unknown."""


class LineStore:
    """Inserts into ClickHouse over HTTP. Every method may be repeated at any time, and raises Away when it must be."""

    def __init__(self, settings: Settings) -> None:
        self._arguments = clickhouse_arguments(settings)
        self._client: AsyncClient | None = None
        self._unknown_fields: set[str] = set()

    async def close(self) -> None:
        """Close the connection; the next call opens another."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def connect(self) -> None:
        """Make sure that ClickHouse answers and has the tables."""
        try:
            client = await self._connected()
            found = await client.command("EXISTS TABLE usage.usage_lines_in_view")
        except _FAILURES as error:
            await self.close()
            raise Away(_reason(error)) from error
        if not found:
            raise Away("the tables are missing: run `usage migrate`")

    async def insert_lines(self, document: Document) -> None:
        """Insert lines as they are. Raises Refused when the bytes are at fault.

        A field that the table does not have stops nothing (a newer worker may write it), but is named in the log: its
        values stay in Kafka only, until a migration adds the column.
        """
        try:
            await self._insert(LINES_TABLE, document, {"input_format_skip_unknown_fields": 0})
        except Refused as refusal:
            found = _UNKNOWN_FIELD.search(str(refusal))
            if found is None:
                raise
            self._report_unknown_field(found[1] or found[2])
            await self._insert(LINES_TABLE, document, {"input_format_skip_unknown_fields": 1})

    async def insert_row(self, table: str, row: Mapping[str, object]) -> None:
        """Insert one row of JSON; fields that the table has not are left out. Raises Refused when the row is at fault."""
        await self._insert(table, Document([json.dumps(row).encode()]), {"input_format_skip_unknown_fields": 1})

    async def save_positions(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Note up to where partitions are in ClickHouse."""
        await self._note(
            "usage.sink_positions",
            [
                {"topic": place.topic, "partition": place.partition, "next_offset": next_offset}
                for place, next_offset in next_offsets.items()
            ],
        )

    async def save_repeats(self, spans: Mapping[TopicPartition, Span]) -> None:
        """Note which records may be inserted again; call it before they are."""
        await self._note(
            "usage.sink_repeats",
            [
                {"topic": place.topic, "partition": place.partition, "first_offset": first, "next_offset": end}
                for place, (first, end) in spans.items()
            ],
        )

    async def _note(self, table: str, rows: list[dict[str, object]]) -> None:
        try:
            await self._insert(table, Document([json.dumps(row).encode() for row in rows]), {})
        except Refused as refusal:
            raise Away(f"{table} was refused: {refusal}") from refusal

    async def _insert(self, table: str, document: Document, settings: Mapping[str, object]) -> None:
        try:
            client = await self._connected()
            await client.raw_insert(
                table,
                insert_block=_streamed(document),
                fmt=document.format_name,
                settings={**_INSERT_SETTINGS, **settings},
            )
        except _FAILURES as error:
            if isinstance(error, Error) and error.code in _REFUSED_CODES:
                raise Refused(_reason(error)) from error
            await self.close()
            raise Away(_reason(error)) from error

    async def _connected(self) -> AsyncClient:
        if self._client is None:
            self._client = await create_async_client(
                **self._arguments,
                connect_timeout=CONNECT_TIMEOUT_S,
                send_receive_timeout=INSERT_TIMEOUT_S,
                client_name="usage-sink",
                compress=False,
            )
        return self._client

    def _report_unknown_field(self, name: str) -> None:
        if name not in self._unknown_fields and len(self._unknown_fields) < _UNKNOWN_FIELDS_MAX:
            self._unknown_fields.add(name)
            log.error(
                "lines have the field %r, which usage.usage_lines has not: it is not stored; run `usage migrate`", name
            )


async def _streamed(document: Document) -> AsyncIterator[bytes]:
    """Yield a document. The client cannot send it again by itself, so no repeat goes unnoted."""
    for chunk in document.chunks():
        yield chunk


def _reason(error: BaseException) -> str:
    """Return what happened in one line: ClickHouse's own words without what is of no use to a reader."""
    text = str(error).strip() or type(error).__name__
    found = _CLICKHOUSE_WORDS.search(text)
    if found is not None:
        text = _EXPRESSION.sub("", found[1])
    return " ".join(text.split())[:_REASON_LENGTH_MAX]

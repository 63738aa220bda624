"""Run statements on the embedded ClickHouse engine (chDB): each on a connection of its own, so settings never leak."""

import itertools
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

os.environ["TZ"] = "UTC"  # R3.1: the engine takes its time zone from the process, before it is loaded

import chdb
from chdb.state.sqlitelike import Connection

from pipeline.embedded.http_body import STATEMENT_BYTES_MAX, InsertWithData, is_insert, split_insert

SERVER_MEMORY_BYTES_MAX = 3 << 30
"""All queries, caches and merges together; beyond it a query fails with MEMORY_LIMIT_EXCEEDED."""
QUERY_MEMORY_BYTES_MAX = 2 << 30
MARK_CACHE_BYTES_MAX = 256 << 20
THREADS_PER_QUERY_MAX = 2
READS_AT_ONCE_MAX = 4
"""Further reads wait; inserts and DDL never do, so slow reports cannot hold up the sink."""
STATEMENT_TEXT_BYTES_MAX = 64 << 20
QUERY_SECONDS_MAX = 300

_DEFAULT_SETTINGS = {
    "max_threads": str(THREADS_PER_QUERY_MAX),
    "max_memory_usage": str(QUERY_MEMORY_BYTES_MAX),
    "max_execution_time": str(QUERY_SECONDS_MAX),
}
_ERROR = re.compile(r"Code: (\d+)\. DB::Exception: .*", re.DOTALL)
_SETTING_NAME = re.compile(r"[A-Za-z_]\w*")
_UNKNOWN_EXCEPTION = 1002
_UNKNOWN_SETTING = 115
_QUERY_IS_TOO_LARGE = 425
_INCORRECT_DATA = 117


class EngineError(Exception):
    """A failed statement, with ClickHouse's own error code and a text like `Code: 60. DB::Exception: ...`."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def engine_error(code: int, message: str) -> EngineError:
    """Return an error of ours in ClickHouse's own wording."""
    return EngineError(code, f"Code: {code}. DB::Exception: {message}")


class Statement(NamedTuple):
    """One statement: its text (an INSERT's data follow in it) in chunks, and how to run it."""

    chunks: Iterator[bytes]
    database: str
    output_format: str
    settings: Mapping[str, str]
    parameters: Mapping[str, str]
    read_only: bool


class Result(NamedTuple):
    """What a statement returned (empty for an INSERT or DDL) and what it cost."""

    body: bytes
    rows_read: int = 0
    bytes_read: int = 0
    rows_written: int = 0
    bytes_written: int = 0
    elapsed_s: float = 0.0


class Engine:
    """The engine on one data directory. One process may have it open at a time; threads may share it."""

    def __init__(self, data_dir: Path) -> None:
        """Open `data_dir`, which is made when it is not there."""
        data_dir.mkdir(parents=True, exist_ok=True)
        options = (
            f"max_server_memory_usage={SERVER_MEMORY_BYTES_MAX}",
            f"mark_cache_size={MARK_CACHE_BYTES_MAX}",
            f"background_pool_size={THREADS_PER_QUERY_MAX}",
        )
        self._address = f"{data_dir.resolve()}?{'&'.join(options)}"
        self._root = Connection(self._address)  # the engine lives as long as one connection is open
        self._incoming = data_dir.resolve() / "incoming"
        shutil.rmtree(self._incoming, ignore_errors=True)  # left by a kill in the middle of an insert
        self._incoming.mkdir()
        self._reads = threading.BoundedSemaphore(READS_AT_ONCE_MAX)
        self.version = self._root.query("SELECT version()", "TabSeparated").bytes().decode().strip()

    def close(self) -> None:
        """Close the engine; call it when no statement is running."""
        self._root.close()

    def run(self, statement: Statement) -> Result:
        """Run one statement to its end.

        Raises:
            EngineError: the engine refused it, or its data.
            Exception: whatever reading its chunks raises; nothing is run or written then.

        """
        try:
            connection = Connection(self._address)
            try:
                _prepare(connection, statement)
                return self._run_on(connection, statement)
            finally:
                connection.close()
        except (chdb.ChdbError, RuntimeError, UnicodeDecodeError) as failure:
            raise _as_engine_error(failure) from failure

    def _run_on(self, connection: Connection, statement: Statement) -> Result:
        head, rest = _read_head(statement.chunks)
        if not is_insert(head):
            text = head + b"".join(rest)
            if _is_read(text):
                with self._reads:
                    return _query(connection, text, statement)
            return _query(connection, text, statement)
        insert = split_insert(head)
        if insert is None:
            return _query(connection, head + b"".join(rest), statement)
        return self._insert(connection, insert, itertools.chain([head[insert.data_start :]], rest), statement)

    def _insert(
        self, connection: Connection, insert: InsertWithData, chunks: Iterator[bytes], statement: Statement
    ) -> Result:
        """Insert by way of a file: chDB's streaming insert reports success for what failed after parsing.

        (A broken constraint, too many parts, a full disk.) It also keeps a client that goes away half-way from leaving
        half an insert.
        """
        with tempfile.NamedTemporaryFile(dir=self._incoming) as data:
            for chunk in chunks:
                data.write(chunk)
            data.flush()
            source = f"FROM INFILE {_quoted(data.name, chr(39))} COMPRESSION 'none'"
            text = f"{insert.target} {source} {insert.settings} FORMAT {insert.format_name}"
            return _query(connection, text.encode(), statement)


def _prepare(connection: Connection, statement: Statement) -> None:
    settings = {**_DEFAULT_SETTINGS, **statement.settings}
    if statement.database:
        connection.query(f"USE {_quoted(statement.database, '`')}")
    for name in settings:
        if not _SETTING_NAME.fullmatch(name):
            raise engine_error(
                _UNKNOWN_SETTING, f"Setting {name!r} is neither a builtin setting nor started with a prefix"
            )
    connection.query("SET " + ", ".join(f"{name} = {_quoted(value, chr(39))}" for name, value in settings.items()))
    if statement.read_only:
        connection.query("SET readonly = 2")


def _read_head(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Read until the statement of a streamed INSERT is complete, else to the end."""
    head = b""
    for chunk in chunks:
        head += chunk
        if is_insert(head) and (split_insert(head) is not None or len(head) > STATEMENT_BYTES_MAX):
            return head, chunks
        if len(head) > STATEMENT_TEXT_BYTES_MAX:
            raise engine_error(_QUERY_IS_TOO_LARGE, f"The query is longer than {STATEMENT_TEXT_BYTES_MAX} bytes")
    if is_insert(head):
        head += b"\n"  # ends a format's name that ends the text
    return head, chunks


def _is_read(text: bytes) -> bool:
    return text.lstrip().upper().startswith((b"SELECT", b"WITH"))


def _query(connection: Connection, text: bytes, statement: Statement) -> Result:
    result = connection.query(text.decode(), statement.output_format, params=dict(statement.parameters))
    body: bytes = result.bytes() or b""
    return Result(
        body,
        rows_read=result.rows_read(),
        bytes_read=result.bytes_read(),
        rows_written=result.rows_written(),
        bytes_written=result.bytes_written(),
        elapsed_s=result.elapsed(),
    )


def _quoted(text: str, quote: str) -> str:
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


def _as_engine_error(failure: Exception) -> EngineError:
    if isinstance(failure, EngineError):
        return failure
    found = _ERROR.search(str(failure))
    if found:
        return EngineError(int(found.group(1)), found.group().strip())
    if isinstance(failure, UnicodeDecodeError):
        return engine_error(_INCORRECT_DATA, f"The query is not valid UTF-8: {failure}")
    return engine_error(_UNKNOWN_EXCEPTION, str(failure))

"""Serve the embedded engine over ClickHouse's HTTP interface, so that every ClickHouse client works unchanged.

Known clients: clickhouse-connect, curl, BI tools. Not there: sessions (an id is accepted, temporary tables do not
outlive their request), compressed or streamed responses, roles, quotas, KILL QUERY, external data files.
"""

import base64
import binascii
import hmac
import json
import logging
import threading
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from pipeline.embedded.clickhouse_engine import Engine, EngineError, Result, Statement, engine_error
from pipeline.embedded.http_body import CorruptBodyError, UnsupportedEncodingError, decompress

log = logging.getLogger("usage.clickhouse")

_CHUNK_BYTES = 1 << 20
_IDLE_SECONDS_MAX = 300
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_NOT_SETTINGS = frozenset(
    [
        "add_http_cors_header",
        "buffer_size",
        "cancel_http_readonly_queries_on_client_close",
        "client_protocol_version",
        "close_session",
        "compress",
        "database",
        "decompress",
        "default_format",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "password",
        "query",
        "query_id",
        "quota_key",
        "role",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "stacktrace",
        "user",
        "wait_end_of_query",
    ]
)
_AUTHENTICATION_FAILED, _NOT_IMPLEMENTED, _CORRUPT_BODY = 516, 48, 432
_STATUS_OF_CODE = {
    **dict.fromkeys((6, 26, 27, 38, 41, 43, 53, 62, 69, 72, 117, 432, 456, 457), HTTPStatus.BAD_REQUEST),
    **dict.fromkeys((46, 47, 50, 56, 60, 73, 81, 115), HTTPStatus.NOT_FOUND),
    **dict.fromkeys((192, 193, 516), HTTPStatus.FORBIDDEN),
    48: HTTPStatus.NOT_IMPLEMENTED,
    159: HTTPStatus.REQUEST_TIMEOUT,
    425: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}


def _is_loopback(address: str) -> bool:
    try:
        return urlsplit(address).hostname in _LOOPBACK_HOSTS
    except ValueError:
        return False


class Access(NamedTuple):
    """Who may send statements; without a password everybody on this machine."""

    user: str = "default"
    password: str = ""

    def allows(self, user: str, password: str) -> bool:
        """Tell whether these credentials are the right ones."""
        if not self.password:
            return True
        same_user = hmac.compare_digest(user.encode(), self.user.encode())
        return hmac.compare_digest(password.encode(), self.password.encode()) and same_user


class Front(ThreadingHTTPServer):
    """The HTTP server; one thread a connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, engine: Engine, access: Access) -> None:
        """Bind 127.0.0.1:`port`; 0 takes a free one (see `server_port`)."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.engine = engine
        self.access = access
        self._busy = 0
        self._changed = threading.Condition()

    def begin(self) -> None:
        """Count a request in."""
        with self._changed:
            self._busy += 1

    def end(self) -> None:
        """Count a request out."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no request is running; tell whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._busy == 0, timeout_s)


class _Handler(BaseHTTPRequestHandler):
    server: Front
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS_MAX
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet
    server_version = "usage-embedded-clickhouse"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a health check, or run a statement that may only read."""
        self._counted(read_only=True)

    def do_POST(self) -> None:
        """Run a statement."""
        self._counted(read_only=False)

    def log_message(self, *_: object) -> None:
        """Keep requests out of the log: a failed statement is logged by itself."""

    def _counted(self, *, read_only: bool) -> None:
        self.server.begin()
        try:
            self._answer(read_only=read_only)
        except (ConnectionError, TimeoutError) as failure:
            log.info("client went away: %s", failure)
            self.close_connection = True
        finally:
            self.server.end()

    def _answer(self, *, read_only: bool) -> None:
        address = urlsplit(self.path)
        parameters = dict(parse_qsl(address.query, keep_blank_values=True))
        if address.path in {"/ping", "/replicas_status"} or (address.path == "/" and read_only and not parameters):
            self._send(HTTPStatus.OK, b"Ok.\n", {})
            return
        query_id = parameters.get("query_id") or str(uuid.uuid4())
        try:
            self._check_access(parameters)
            result = self.server.engine.run(self._statement(parameters, read_only=read_only))
        except UnsupportedEncodingError as failure:
            self._send_error_of(engine_error(_NOT_IMPLEMENTED, str(failure)), query_id)
        except CorruptBodyError as failure:
            self._send_error_of(engine_error(_CORRUPT_BODY, str(failure)), query_id)
        except EngineError as failure:
            self._send_error_of(failure, query_id)
        else:
            self._send_result(result, query_id)

    def _check_access(self, parameters: dict[str, str]) -> None:
        origin = self.headers.get("Origin")
        site = self.headers.get("Sec-Fetch-Site", "none")
        if (
            not _is_loopback("//" + self.headers.get("Host", "127.0.0.1"))
            or (origin is not None and not _is_loopback(origin))  # "null" is the origin of a sandboxed page
            or site not in ("none", "same-origin")
        ):
            raise engine_error(_AUTHENTICATION_FAILED, "Requests on behalf of other hosts' web pages are refused")
        user, password = self._credentials(parameters)
        if not self.server.access.allows(user, password):
            raise engine_error(
                _AUTHENTICATION_FAILED,
                f"{user}: Authentication failed: password is incorrect, or there is no user with such name.",
            )

    def _credentials(self, parameters: dict[str, str]) -> tuple[str, str]:
        user = self.headers.get("X-ClickHouse-User") or parameters.get("user") or "default"
        password = self.headers.get("X-ClickHouse-Key") or parameters.get("password") or ""
        scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(encoded).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError) as failure:
                raise engine_error(_AUTHENTICATION_FAILED, "Invalid Authorization header") from failure
        return user, password

    def _statement(self, parameters: dict[str, str], *, read_only: bool) -> Statement:
        if parameters.get("decompress") == "1":
            raise engine_error(_NOT_IMPLEMENTED, "decompress=1 is not supported; use Content-Encoding")
        return Statement(
            chunks=self._text(parameters.get("query", "")),
            database=self.headers.get("X-ClickHouse-Database") or parameters.get("database", ""),
            output_format=self.headers.get("X-ClickHouse-Format") or parameters.get("default_format") or "TabSeparated",
            settings={
                name: value
                for name, value in parameters.items()
                if name not in _NOT_SETTINGS and not name.startswith("param_")
            },
            parameters={name[6:]: value for name, value in parameters.items() if name.startswith("param_")},
            read_only=read_only,
        )

    def _text(self, query: str) -> Iterator[bytes]:
        """Yield the statement as ClickHouse reads it: the parameter `query`, a line break, then the body."""
        if query:
            yield query.encode() + b"\n"
        yield from decompress(self._body(), self.headers.get("Content-Encoding", "").lower())

    def _body(self) -> Iterator[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            yield from self._chunked_body()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            chunk = self.rfile.read1(min(left, _CHUNK_BYTES))
            if not chunk:
                raise ConnectionResetError("the body ended early")
            left -= len(chunk)
            yield chunk

    def _chunked_body(self) -> Iterator[bytes]:
        while size := self._chunk_size():
            chunk = self.rfile.read(size)
            if len(chunk) < size or self.rfile.readline(3) != b"\r\n":
                raise ConnectionResetError("the body ended early")
            yield chunk
        while self.rfile.readline(1024).strip():  # trailers
            pass

    def _chunk_size(self) -> int:
        line = self.rfile.readline(1024)
        try:
            return int(line.split(b";")[0], 16)
        except ValueError as failure:
            raise ConnectionResetError(f"the body ended early, at {line[:20]!r}") from failure

    def _send_result(self, result: Result, query_id: str) -> None:
        summary = {
            "read_rows": str(result.rows_read),
            "read_bytes": str(result.bytes_read),
            "written_rows": str(result.rows_written),
            "written_bytes": str(result.bytes_written),
            "elapsed_ns": str(int(result.elapsed_s * 1e9)),
        }
        headers = {"X-ClickHouse-Query-Id": query_id, "X-ClickHouse-Summary": json.dumps(summary)}
        self._send(HTTPStatus.OK, result.body, headers)

    def _send_error_of(self, error: EngineError, query_id: str) -> None:
        log.warning("statement %s failed: %.500s", query_id, error.text)
        self.close_connection = True  # the rest of its body is still on the wire
        headers = {"X-ClickHouse-Query-Id": query_id, "X-ClickHouse-Exception-Code": str(error.code)}
        status = _STATUS_OF_CODE.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
        self._send(status, error.text.encode(errors="replace") + b"\n", headers)

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("X-ClickHouse-Timezone", "UTC")
        self.send_header("X-ClickHouse-Server-Display-Name", "embedded")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

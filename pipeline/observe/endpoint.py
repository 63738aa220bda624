"""`/metrics`, `/healthz` and `/readyz` of a process, on a port of their own.

Never on the port of the HTTP API: that one is for tenants, and a scraper should hold no key that may do anything. The
process's own event loop answers, so an answer also says that it turns. One request a connection, bounded in everything.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from pipeline.observe.counters import Counters
from pipeline.observe.exposition import Exposition
from pipeline.observe.metrics import Process
from pipeline.settings import Settings

CONNECTIONS_MAX = 32
HEAD_BYTES_MAX = 8 * 1024
REQUEST_S_MAX = 5.0
"""How long a request may take from the connection to the end of the answer."""
FAULTS_S_MAX = 2.0
_WORDS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
_TEXT = "text/plain; charset=utf-8"

log = logging.getLogger(__name__)


class MetricsPortError(OSError):
    """The port for metrics cannot be had."""


class _Answer(NamedTuple):
    status: int
    body: bytes
    content_type: str = _TEXT


class Endpoint:
    """Serves a process's metrics and health; without the setting `metrics_port`, nothing.

    `refresh` brings gauges up to date before they are read. `faults` says what keeps the process from working, nothing
    when it is ready.
    """

    def __init__(
        self,
        settings: Settings,
        process: Process,
        counters: Counters,
        faults: Callable[[], Awaitable[Sequence[str]]],
        refresh: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._host, self._port = settings.metrics_host, settings.metrics_port
        self._counters = counters
        self._exposition = Exposition(process, counters)
        self._faults = faults
        self._refresh = refresh
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port: int | None = None
        """Where it listens."""

    async def start(self) -> None:
        """Listen. Raises MetricsPortError."""
        if self._port is None:
            return
        try:
            self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=HEAD_BYTES_MAX)
        except OSError as error:
            reason = error.strerror or str(error)
            raise MetricsPortError(
                f"metrics cannot be served on {self._host}:{self._port} ({reason}): set USAGE_METRICS_PORT to a free port, "
                "one for each process on a machine"
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]
        log.info("metrics and health at http://%s:%d/metrics, /healthz, /readyz", self._host, self.port)

    async def stop(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._connections.add(task)
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                method, path, accept = _request_of(await reader.readuntil(b"\r\n\r\n"))
                answer = await self._answer(method, path, accept)
                writer.write(_encoded(answer, with_body=method != "HEAD"))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.debug("a request for metrics was not answered")
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, method: str, path: str, accept: str) -> _Answer:
        if method not in ("GET", "HEAD"):
            return _Answer(405 if method else 400, b"only GET and HEAD are answered\n")
        if path == "/healthz":
            return _Answer(200, b"alive\n")
        if path == "/readyz":
            faults = await self._known_faults()
            return _Answer(503, f"{'; '.join(faults)}\n".encode()) if faults else _Answer(200, b"ready\n")
        if path == "/metrics":
            self._counters.level("ready", 0 if await self._known_faults() else 1)
            if self._refresh is not None:
                await self._refresh()
            return _Answer(200, *self._exposition.encode(accept))
        return _Answer(404, b"here are /metrics, /healthz and /readyz\n")

    async def _known_faults(self) -> Sequence[str]:
        try:
            async with asyncio.timeout(FAULTS_S_MAX):
                return await self._faults()
        except TimeoutError:
            return [f"it is not known within {FAULTS_S_MAX:g} s whether it is ready"]


def _request_of(head: bytes) -> tuple[str, str, str]:
    """Return method, path without its query, and the header `Accept`; no method when it is no request."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return "", "", ""
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return words[0], words[1].partition("?")[0], headers.get("accept", "")


def _encoded(answer: _Answer, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {_WORDS[answer.status]}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        "Allow: GET, HEAD\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (answer.body if with_body else b"")

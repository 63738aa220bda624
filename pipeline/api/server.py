"""Serving the application, from start to SIGTERM."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.api.app import create_app
from pipeline.api.health import ApiHealth
from pipeline.domain.catalog import Catalog
from pipeline.observe.endpoint import Endpoint
from pipeline.settings import Settings

CONNECTIONS_MAX = 2_000
KEEP_ALIVE_S = 30
HEADERS_S_MAX = 10.0
"""How long a client may take from a connection, or from a further request's first byte, to the end of the headers."""
STOP_S_MAX = 15
"""How long requests under way may take after a stop."""
_BACKLOG = 1_024

log = logging.getLogger(__name__)


class _Http(H11Protocol):
    """Closes a connection whose next request does not begin in time; uvicorn waits for ever once a byte has come."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Go on waiting, unless the headers are complete now."""
        super().data_received(data)
        self._wait()

    def _wait(self) -> None:
        if not self._is_between_requests():
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None
        elif self._patience is None:
            self._patience = self.loop.call_later(HEADERS_S_MAX, self._give_up)

    def _give_up(self) -> None:
        self._patience = None
        if self._is_between_requests():
            self.transport.close()

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn sends the one that stopped it to this process again, which ends it out of order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve(
    settings: Settings,
    catalog: Catalog,
    on_ready: Callable[[str], None] | None = None,
    extend: Callable[[FastAPI], None] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code, 0 after SIGTERM and 130 after SIGINT.

    `extend` adds to the application. `on_ready` is called once with the address, when it listens, Kafka is connected and the
    API keys are read. Raises OSError when the port cannot be had; OSError, ValueError when the operator's key file cannot be used.
    """
    app = create_app(settings, catalog)
    if extend is not None:
        extend(app)
    for library in ("aiokafka", "uvicorn"):
        logging.getLogger(library).setLevel(logging.WARNING)  # at DEBUG aiokafka logs what is in the records
    listening = listen(settings.api_host, settings.api_port)
    address = address_of(listening)
    server = new_server(app)
    health = ApiHealth(app)
    endpoint = Endpoint(settings, "api", app.state.counters, health.faults, health.refresh)
    log.info("listening on %s; the routes are described at %s/docs", address, address)
    announcing = asyncio.create_task(_announce(app, address, on_ready))
    try:
        await endpoint.start()
        return await _until_stopped(server, listening)
    finally:
        await endpoint.stop()
        announcing.cancel()
        listening.close()


def new_server(app: FastAPI) -> uvicorn.Server:
    """Return a server of an application, which is not started yet."""
    config = uvicorn.Config(
        app,
        http=_Http,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S_MAX,
    )
    return _Server(config)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 stands for any free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def address_of(listening: socket.socket) -> str:
    """Return the URL of a server on a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _announce(app: FastAPI, address: str, on_ready: Callable[[str], None] | None) -> None:
    """Say once that requests can be served."""
    await app.state.keys.read.wait()
    await app.state.delivery.connected.wait()
    log.info("ready")
    if on_ready is not None:
        on_ready(address)


async def _until_stopped(server: uvicorn.Server, listening: socket.socket) -> int:
    """Serve until a signal, and return the exit code that fits it."""
    stopped_by = signal.SIGTERM

    def stop(number: signal.Signals) -> None:
        nonlocal stopped_by
        stopped_by = number
        server.handle_exit(number, None)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await server.serve(sockets=[listening])
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    log.info("stopped")
    return 130 if stopped_by is signal.SIGINT else 0

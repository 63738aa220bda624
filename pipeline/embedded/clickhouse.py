"""Run the embedded ClickHouse: `python -m pipeline.embedded.clickhouse --data DIR --port N`.

The engine is chDB (ClickHouse in a wheel) behind ClickHouse's HTTP interface on 127.0.0.1. A user and a password come
from `USAGE_CLICKHOUSE_USER` (default `default`) and `USAGE_CLICKHOUSE_PASSWORD`; without a password everybody on this
machine may connect. SIGTERM and SIGINT let running statements finish, then close the engine.
"""

import argparse
import asyncio
import http.client
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.observe.log import log_to_stderr

DRAIN_TIMEOUT_S = 10.0
"""How long running statements may take after SIGTERM."""
STOP_TIMEOUT_S = DRAIN_TIMEOUT_S + 5
"""How long a supervisor waits after SIGTERM."""
_RETRY_PAUSE_S = 0.05
_PING_TIMEOUT_S = 2.0

log = logging.getLogger("usage.clickhouse")


def clickhouse_command(data_dir: Path, port: int) -> list[str]:
    """Return the command line of an embedded ClickHouse on 127.0.0.1:`port` that keeps its data in `data_dir`."""
    return [sys.executable, "-m", "pipeline.embedded.clickhouse", "--data", str(data_dir), "--port", str(port)]


async def wait_for_clickhouse(url: str, timeout_s: float) -> None:
    """Return as soon as the server at `url` answers /ping; no user or password is needed for that.

    Raises:
        TimeoutError: it did not within `timeout_s` seconds; the message has the last failure.

    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            await asyncio.to_thread(_ping, url)
        except (OSError, http.client.HTTPException) as failure:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"ClickHouse {url} not ready after {timeout_s} s: {failure!r}") from failure
        else:
            return
        await asyncio.sleep(_RETRY_PAUSE_S)


def _ping(url: str) -> None:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_PING_TIMEOUT_S)
    try:
        connection.request("GET", "/ping")
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"/ping answers {response.status}")
    finally:
        connection.close()


def serve(data_dir: Path, port: int, user: str, password: str) -> None:
    """Open the engine and serve it until SIGTERM or SIGINT; returns when everything is closed."""
    from pipeline.embedded.clickhouse_engine import Engine  # noqa: PLC0415 (loads 550 MB; a supervisor needs none of it)
    from pipeline.embedded.http_front import Access, Front  # noqa: PLC0415

    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # in every thread to come: they are waited for below
    engine = Engine(data_dir)
    front = Front(port, engine, Access(user, password))
    threading.Thread(target=front.serve_forever, name="accept", daemon=True).start()
    log.info("clickhouse %s ready on http://127.0.0.1:%d, data in %s", engine.version, front.server_port, data_dir)
    signal.sigwait(stops)
    front.shutdown()
    front.server_close()
    if front.wait_idle(DRAIN_TIMEOUT_S):
        engine.close()
        log.info("clickhouse stopped")
    else:
        log.warning("clickhouse stopped with statements still running; what they had not finished is not written")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="pipeline.embedded.clickhouse", description="Run the embedded ClickHouse.")
    parser.add_argument("--data", type=Path, required=True, help="folder of its data")
    parser.add_argument("--port", type=int, default=8123, help="port on 127.0.0.1 (default %(default)s, 0: any)")
    arguments = parser.parse_args()
    log_to_stderr(os.environ.get("USAGE_LOG_LEVEL", "INFO"))
    user = os.environ.get("USAGE_CLICKHOUSE_USER", "default")
    serve(arguments.data, arguments.port, user, os.environ.get("USAGE_CLICKHOUSE_PASSWORD", ""))


if __name__ == "__main__":
    main()

"""The whole pipeline on one machine: broker, ClickHouse, topics, migrations, workers, the sink and the API."""

import asyncio
import contextlib
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import clickhouse_connect
from pydantic import SecretStr

from pipeline.access.operator_file import ensure_operator_token
from pipeline.catalog import CatalogError
from pipeline.embedded import broker, clickhouse
from pipeline.embedded.process import ChildProcess
from pipeline.published import publish
from pipeline.settings import Settings
from pipeline.settings.clients import clickhouse_arguments
from pipeline.sink.migrations import migrate
from pipeline.stream.topics import ensure_topics

LOOPBACK = "127.0.0.1"
_SERVER_TIMEOUT_S = 30.0
_READY_TIMEOUT_S = 60.0
_OURS_STOP_TIMEOUT_S = 25.0
_POLL_S = 0.05
_LOCK_TIMEOUT_S = 5.0
"""How long the processes of a killed stack may take to stop before we take it for one that runs."""


class StackError(Exception):
    """The stack cannot run; the message says why and what to do."""


class Stack:
    """The running stack. Use it as an asynchronous context: inside, everything is ready.

    `settings` become those that any other process needs to reach it.
    """

    def __init__(
        self,
        settings: Settings,
        data: Path,
        *,
        kafka_port: int,
        clickhouse_port: int,
        workers: int,
        api_port: int | None = None,
        log: Callable[[str, str], None],
    ) -> None:
        self.settings = settings
        self._kafka_port = kafka_port
        self._clickhouse_port = clickhouse_port
        self._api_port = api_port
        """None: no API."""
        self._data = data
        self._workers = workers
        self._log = log
        self._environment: dict[str, str] = {}
        self._children: list[ChildProcess] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ready_files: list[Path] = []
        self._lock: IO[str] | None = None

    async def __aenter__(self) -> Self:
        if find_spec("chdb") is None:
            raise StackError("the embedded servers are not installed; install usage-pipeline[embedded]")
        ports = [port for port in (self._kafka_port, self._clickhouse_port, self._api_port) if port]
        if len(set(ports)) < len(ports):
            raise StackError(f"Kafka, ClickHouse and the API need ports of their own, not {', '.join(map(str, ports))}")
        self._data.mkdir(parents=True, exist_ok=True)
        self._lock = await self._take_lock()
        try:
            await self._start()
        except BaseException:
            await self._stop_whatever_comes()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_whatever_comes()

    async def run(self) -> None:
        """Run until cancelled. Raises GaveUp when a process keeps dying."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _take_lock(self) -> IO[str]:
        """Hold the folder for this stack alone, once the processes of one that was killed have stopped.

        Raises StackError when another stack runs on it.
        """
        lock = (self._data / "lock").open("w")
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                lock.close()
                raise StackError(f"another stack runs on {self._data}; stop it, or give another folder with --data")
            await asyncio.sleep(_POLL_S)
        return lock

    async def _start(self) -> None:
        kafka_port = _port("Kafka", self._kafka_port)
        clickhouse_port = _port("ClickHouse", self._clickhouse_port)
        reach = {
            "kafka": f"{LOOPBACK}:{kafka_port}",
            "kafka_security_protocol": "PLAINTEXT",  # whatever is set for the real servers
            "clickhouse": f"http://{LOOPBACK}:{clickhouse_port}",
        } | self._reach_of_api()
        self.settings = self.settings.model_copy(update=reach)
        self._environment = {**os.environ, **environment_of(self.settings)}
        self._spawn("kafka", broker.broker_command(self._data / "kafka", kafka_port), broker.STOP_TIMEOUT_S)
        command = clickhouse.clickhouse_command(self._data / "clickhouse", clickhouse_port)
        self._spawn("clickhouse", command, clickhouse.STOP_TIMEOUT_S)
        await self._while_alive(
            broker.wait_for_broker(self.settings.kafka, _SERVER_TIMEOUT_S),
            clickhouse.wait_for_clickhouse(self.settings.clickhouse, _SERVER_TIMEOUT_S),
        )
        await ensure_topics(self.settings)
        await asyncio.to_thread(_migrate, self.settings)
        await self._publish_catalog()
        for number in range(1, self._workers + 1):
            self._spawn_ours(f"worker-{number}", "worker")
        self._spawn_ours("sink", "sink")
        if self._api_port is not None:
            self._spawn_ours("api", "api")
        await self._while_alive(_all_exist(self._ready_files))

    async def _publish_catalog(self) -> None:
        """Put the catalog in force, when it is another than before. Raises StackError when it may not follow that (R4.3)."""
        if self.settings.catalog is None:
            return
        try:
            done = await publish(self.settings, self.settings.catalog, datetime.now(UTC).date())
        except CatalogError as error:
            raise StackError(f"the catalog may not follow the one in force on {self._data}:\n{error}") from None
        if done.partitions:
            self._log("up", f"catalog version {done.digest} is published")

    def _reach_of_api(self) -> dict[str, Any]:
        """Return the settings of the API: on this machine only, with an operator's key in a file that only we can read."""
        if self._api_port is None:
            return {}
        key_file = self._data / "operator.key"
        ensure_operator_token(key_file)
        return {"api_host": LOOPBACK, "api_port": _port("API", self._api_port), "api_operator_key_file": key_file}

    async def _while_alive(self, *conditions: Coroutine[Any, Any, None]) -> None:
        """Wait until all conditions hold. Raises GaveUp when a process is given up on before."""
        waiter = asyncio.ensure_future(_all(conditions))
        try:
            done, _ = await asyncio.wait({waiter, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
        for task in done:
            task.result()

    def _spawn(
        self, name: str, command: list[str], stop_timeout_s: float, environment: dict[str, str] | None = None
    ) -> None:
        assert self._lock is not None
        environment = environment or self._environment
        child = ChildProcess(name, command, environment, self._log, stop_timeout_s, self._lock.fileno())
        self._children.append(child)
        self._tasks.append(child.start())

    def _spawn_ours(self, name: str, command: str) -> None:
        ready_file = self._data / f"{name}.ready"
        ready_file.unlink(missing_ok=True)
        arguments = [sys.executable, "-m", "pipeline", command, "--ready-file", str(ready_file)]
        self._spawn(name, arguments, _OURS_STOP_TIMEOUT_S, self._environment_of_ours())
        self._ready_files.append(ready_file)

    def _environment_of_ours(self) -> dict[str, str]:
        """Return the variables of the next process of ours: its metrics have the next port, the first that of the setting."""
        first = self.settings.metrics_port
        return self._environment | ({"USAGE_METRICS_PORT": str(first + len(self._ready_files))} if first else {})

    async def _stop_whatever_comes(self) -> None:
        """Stop everything, also when cancelled meanwhile: nothing may be left running."""
        stopping = asyncio.create_task(self._stop())
        while not stopping.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(stopping)
        stopping.result()

    async def _stop(self) -> None:
        """Stop workers, sink and API together, then the servers that they need."""
        servers, ours = self._children[:2], self._children[2:]
        await asyncio.gather(*(child.stop() for child in ours))
        await asyncio.gather(*(child.stop() for child in servers))
        for ready_file in self._ready_files:
            ready_file.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()


def _migrate(settings: Settings) -> None:
    with contextlib.closing(clickhouse_connect.get_client(**clickhouse_arguments(settings))) as client:
        migrate(client)


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the USAGE_* variables that make a process run with these very settings."""
    result = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is not None:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            result[f"USAGE_{name.upper()}"] = text
    return result


def _port(name: str, port: int) -> int:
    """Return a port on the loopback interface, any free one for 0. Raises StackError when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            option = f"--{name.lower()}-port"
            raise StackError(
                f"port {port} for {name} is taken ({error.strerror}); give another with {option}"
            ) from None
        return int(probe.getsockname()[1])


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _all(conditions: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*conditions)


async def _all_exist(files: list[Path]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_READY_TIMEOUT_S):
            while not all(file.exists() for file in files):  # noqa: ASYNC110 - made by other processes
                await asyncio.sleep(_POLL_S)
            return
    missing = ", ".join(file.stem for file in files if not file.exists())
    raise StackError(f"not ready after {_READY_TIMEOUT_S:g} s: {missing}; see the log above")

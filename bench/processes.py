"""The processes that are measured: started as users start them, watched from the outside, stopped whatever comes."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from bench.load import partition_of
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.embedded.stack import environment_of
from pipeline.settings import Settings, load_settings
from pipeline.settings.clients import kafka_arguments
from pipeline.stream.topics import ensure_topics
from tests.fixtures.apache_kafka import apache_kafka_fault, apache_kafka_server
from tests.fixtures.servers import Server, broker_server

READY_S_MAX = 180.0
STOP_S_MAX = 30.0
POLL_S = 0.02
_BATCH_BYTES_MAX = 2 << 20
_BATCHES_UNDER_WAY = 8
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used so far, user and system, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def resident_bytes(pid: int | str) -> int:
    """Return how much memory a process holds; "self" is this one."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class UsageProcess:
    """A `usage worker` or `usage sink`, in a session of its own: Ctrl-C reaches us only, and we stop it."""

    def __init__(self, command: str, settings: Settings, folder: Path) -> None:
        self._ready = folder / f"{command}.ready"
        self._log = folder / f"{command}.log"
        self._ready.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", command, "--ready-file", str(self._ready)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | environment_of(settings),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise RuntimeError, with its log, when it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"it ended with {self._process.returncode}:\n{self._log.read_text()[-4000:]}")

    async def ready(self) -> None:
        """Wait until it has its partitions."""
        async with asyncio.timeout(READY_S_MAX):
            while not self._ready.exists():
                self.check()
                await asyncio.sleep(POLL_S)

    def stop(self) -> None:
        """Stop it in order, or else kill it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S_MAX)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()


@contextmanager
def running(command: str, settings: Settings, folder: Path) -> Iterator[UsageProcess]:
    """Run a `usage` process while the block runs."""
    process = UsageProcess(command, settings, folder)
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="usage-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def brokers_at_hand() -> list[str]:
    """Return which kinds of brokers can be started here."""
    return ["embedded"] if apache_kafka_fault() else ["embedded", "apache"]


@asynccontextmanager
async def started(server: Server) -> AsyncIterator[Server]:
    """Run a server while the block runs."""
    try:
        yield await server.started()
    finally:
        if server.process is not None:
            server.kill()


@asynccontextmanager
async def broker_with_topics(kind: str, folder: Path, **settings: Any) -> AsyncIterator[tuple[Server, Settings]]:
    """Run an empty broker with the topics while the block runs, and yield it with the settings to reach it."""
    server = (broker_server if kind == "embedded" else apache_kafka_server)(folder / "broker")
    async with started(server):
        reach = load_settings(kafka=server.address, **settings)
        await ensure_topics(reach)
        yield server, reach


def pid_of(server: Server) -> int:
    """Return the process id of a running server."""
    if server.process is None:
        raise RuntimeError("the server is not started")
    return server.process.pid


async def produce(settings: Settings, records: Iterable[Record]) -> list[int]:
    """Send records in full batches, and return how many went to each partition."""
    producer = AIOKafkaProducer(
        **kafka_arguments(settings), max_batch_size=_BATCH_BYTES_MAX, max_request_size=2 * _BATCH_BYTES_MAX
    )
    await producer.start()
    sender = BatchSender(producer, EVENTS_TOPIC, settings.partitions)
    try:
        for record in records:
            await sender.add(partition_of(record.key or b"", settings.partitions), record)
        await sender.flush()
    finally:
        await producer.stop()
    return sender.counts


class BatchSender:
    """Puts records into batches of their partitions, and sends those that are full."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._producer = producer
        self._topic = topic
        self._batches = [producer.create_batch() for _ in range(partitions)]
        self._under_way: list[asyncio.Future[object]] = []
        self.counts = [0] * partitions

    async def add(self, partition: int, record: Record) -> None:
        """Add a record to its partition's batch."""
        if not self._append(partition, record):
            await self._send(partition)
            if not self._append(partition, record):
                raise ValueError(f"a record of {len(record.value or b'')} bytes fits into no batch")
        self.counts[partition] += 1

    def _append(self, partition: int, record: Record) -> bool:
        made = self._batches[partition].append(key=record.key, value=record.value, timestamp=record.timestamp_ms)
        return made is not None

    async def _send(self, partition: int) -> None:
        batch = self._batches[partition]
        self._batches[partition] = self._producer.create_batch()
        if batch.record_count():
            self._under_way.append(await self._producer.send_batch(batch, self._topic, partition=partition))
        if len(self._under_way) >= _BATCHES_UNDER_WAY:
            await self._under_way.pop(0)

    async def flush(self) -> None:
        """Send what is there, and wait for every acknowledgement."""
        for partition in range(len(self._batches)):
            await self._send(partition)
        await asyncio.gather(*self._under_way)
        self._under_way.clear()

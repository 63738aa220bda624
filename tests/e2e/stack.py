"""The stack as a user runs it: `usage up` as a process of its own, fed by another program over Kafka."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import clickhouse_connect
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pipeline.billing.lines import read_lines
from pipeline.embedded.drain import wait_drained
from pipeline.settings import Settings, load_settings
from pipeline.settings.clients import clickhouse_arguments

READY_TIMEOUT_S = 90
DRAIN_TIMEOUT_S = 120
Position = tuple[str, int, int]


class RunningStack:
    """`usage up` on a folder; start, stop and start again."""

    def __init__(self, folder: Path, catalog: Path, workers: int = 1) -> None:
        self.folder = folder
        self._catalog = catalog
        self._workers = workers
        self._log = folder / "up.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.settings: Settings | None = None
        self.api = ""

    def start(self) -> "RunningStack":
        ready_file = self.folder / "ready.json"
        arguments = [sys.executable, "-m", "pipeline", "up", "--data", str(self.folder / "data")]
        arguments += ["--catalog", str(self._catalog), "--kafka-port", "0", "--clickhouse-port", "0"]
        arguments += ["--api-port", "0"]
        arguments += ["--workers", str(self._workers), "--ready-file", str(ready_file)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log, env=_environment())
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not ready_file.exists():
            assert self.process.poll() is None, f"usage up ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"usage up is not ready:\n{self.log()}"
            time.sleep(0.05)  # another process makes the file: nothing to await
        addresses = json.loads(ready_file.read_text())
        self.api = addresses.pop("api")
        self.settings = load_settings(**addresses, catalog=self._catalog)
        return self

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop(signal.SIGTERM)

    def log(self) -> str:
        return self._log.read_text()[-6000:]

    def drain(self) -> None:
        assert self.settings is not None
        asyncio.run(wait_drained(self.settings, DRAIN_TIMEOUT_S))

    def feed(self, entries: Iterable[dict[str, Any]], compression: str | None = None) -> dict[Position, int]:
        """Produce journal entries in order; return where each landed, and its offset in the journal."""
        assert self.settings is not None
        return asyncio.run(_produce(self.settings.kafka, entries, compression))

    def lines(self) -> list[dict[str, Any]]:
        assert self.settings is not None
        with closing(clickhouse_connect.get_client(**clickhouse_arguments(self.settings))) as client:
            return list(read_lines(client))

    def read(self, topic: str) -> list[Any]:
        """Return every record of a topic."""
        assert self.settings is not None
        return asyncio.run(_consume(self.settings.kafka, topic))

    def usage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command against this stack."""
        assert self.settings is not None
        environment = _environment() | {
            "USAGE_KAFKA": self.settings.kafka,
            "USAGE_CLICKHOUSE": self.settings.clickhouse,
        }
        command = [sys.executable, "-m", "pipeline", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("USAGE_")}


async def _produce(kafka: str, entries: Iterable[dict[str, Any]], compression: str | None) -> dict[Position, int]:
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, acks="all", max_request_size=8 << 20, compression_type=compression
    )
    await producer.start()
    try:
        sent = []
        for entry in entries:
            key, payload = entry["key"], entry["payload"]
            future = await producer.send(
                entry["topic"],
                payload if isinstance(payload, bytes | None) else payload.encode(errors="surrogatepass"),
                key=None if key is None else key.encode(),
                timestamp_ms=entry["ts"],
                headers=[(name, value.encode()) for name, value in entry.get("headers", {}).items()],
            )
            sent.append((future, entry["offset"]))
        landed = [(await future, offset) for future, offset in sent]
        return {(where.topic, where.partition, where.offset): offset for where, offset in landed}
    finally:
        await producer.stop()


async def _consume(kafka: str, topic: str) -> list[Any]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False, group_id=None
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        records: list[Any] = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
        return records
    finally:
        await consumer.stop()

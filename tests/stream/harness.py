"""Real worker processes on a real broker, and what they wrote."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC
from pipeline.settings import load_settings
from pipeline.stream.topics import ensure_topics
from tests.fixtures.lines import lines_in

PARTITIONS = 2
WAIT_S_MAX = 30
SETTINGS = {"partitions": PARTITIONS, "worker_session_ms": 6000, "worker_rebalance_ms": 6000, "merge_hold_ms": 200}
RECORD_BYTES_MAX = 7 << 20


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until `condition()` holds."""
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
                await asyncio.sleep(0.02)
    except TimeoutError as late:
        raise TimeoutError(f"waited {WAIT_S_MAX} s for {what}") from late


class Worker:
    """A worker process, and its log."""

    def __init__(self, kafka: str, folder: Path, number: int, catalog: Path | None, settings: dict[str, Any]) -> None:
        self._ready = folder / f"ready-{number}"
        self._log = folder / f"worker-{number}.log"
        arguments = json.dumps({"kafka": kafka} | SETTINGS | settings)
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "tests.stream.worker_process", arguments, str(self._ready)]
            self.process = subprocess.Popen(command + ([str(catalog)] if catalog else []), stdout=log, stderr=log)

    def log(self) -> str:
        return self._log.read_text()

    async def ready(self) -> "Worker":
        await until(lambda: self._ready.exists() or self.process.poll() is not None, "the worker to be ready")
        assert self.process.poll() is None, self.log()
        return self

    async def logged(self, words: str, times: int = 1) -> None:
        await until(lambda: self.log().count(words) >= times, f"{words!r} in the log of the worker")

    async def ended(self) -> int:
        await until(lambda: self.process.poll() is not None, "the worker to end")
        return self.process.returncode

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Sent(NamedTuple):
    """Where a record went."""

    partition: int
    offset: int


class Stream:
    """Topics of a broker: send to them, run workers, read what comes out."""

    def __init__(self, kafka: str, folder: Path, producer: AIOKafkaProducer) -> None:
        self.kafka = kafka
        self._folder = folder
        self._producer = producer
        self._workers: list[Worker] = []

    def start_worker(self, catalog: Path | None = None, **settings: Any) -> Worker:
        """Start a worker: rating by the catalog, or with the stub ledger."""
        worker = Worker(self.kafka, self._folder, len(self._workers), catalog, settings)
        self._workers.append(worker)
        return worker

    async def worker(self, catalog: Path | None = None, **settings: Any) -> Worker:
        return await self.start_worker(catalog, **settings).ready()

    async def send(self, topic: str, key: bytes | None, value: bytes | None, timestamp_ms: int, **more: Any) -> Sent:
        made = await self._producer.send_and_wait(topic, value, key=key, timestamp_ms=timestamp_ms, **more)
        return Sent(made.partition, made.offset)

    async def send_events(self, customers: Iterable[str], timestamp_ms: int = 1000) -> dict[str, list[Sent]]:
        """Send an event for each of the customers, one millisecond after the other; return where each one's went."""
        futures = [
            (name, await self._producer.send(EVENTS_TOPIC, b"e", key=name.encode(), timestamp_ms=timestamp_ms + at))
            for at, name in enumerate(customers)
        ]
        sent: dict[str, list[Sent]] = {}
        for name, future in futures:
            made = await future
            sent.setdefault(name, []).append(Sent(made.partition, made.offset))
        return sent

    async def grant(self, customer: str, amount: int, timestamp_ms: int) -> Sent:
        return await self.send(GRANTS_TOPIC, customer.encode(), b"%d" % amount, timestamp_ms)

    async def records(self, topic: str, enough: Callable[[list[Any]], bool]) -> list[Any]:
        """Read a topic from its beginning until `enough` holds."""
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.kafka, auto_offset_reset="earliest")
        await consumer.start()
        found: list[Any] = []
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                while not enough(found):
                    for records in (await consumer.getmany(timeout_ms=100)).values():
                        found += records
        except TimeoutError as late:
            logs = "\n".join(worker.log() for worker in self._workers)
            raise TimeoutError(f"not enough in {topic} after {WAIT_S_MAX} s: {len(found)} records\n{logs}") from late
        finally:
            await consumer.stop()
        return found

    async def lines(self, count: int) -> dict[str, list[dict[str, Any]]]:
        """Return each customer's lines by seq, as soon as there are `count` different ones."""
        return lines_of(await self.records(LINES_TOPIC, lambda found: sum(map(len, lines_of(found).values())) >= count))

    def close(self) -> None:
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.kill()


def lines_of(records: Iterable[Any]) -> dict[str, list[dict[str, Any]]]:
    """Return each customer's lines in the order of seq, the last one written where a line was written again."""
    by_number: dict[tuple[str, int], dict[str, Any]] = {}
    for line in lines_in(records):
        by_number[line["customer"], line["seq"]] = line
    customers: dict[str, list[dict[str, Any]]] = {}
    for (name, _), line in sorted(by_number.items()):
        customers.setdefault(name, []).append(line)
    return customers


def places(lines: dict[str, list[dict[str, Any]]]) -> dict[str, list[Sent]]:
    """Return where the events of the customers' lines lay, having checked that the numbers have no gap."""
    for name, of_customer in lines.items():
        assert [line["seq"] for line in of_customer] == list(range(1, len(of_customer) + 1)), name
    return {name: [Sent(line["partition"], line["offset"]) for line in found] for name, found in lines.items()}


@asynccontextmanager
async def open_stream(kafka: str, folder: Path) -> AsyncIterator[Stream]:
    """Create the topics on an empty broker, and stop every worker at the end."""
    await ensure_topics(load_settings(kafka=kafka, partitions=PARTITIONS))
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=RECORD_BYTES_MAX)
    await producer.start()
    stream = Stream(kafka, folder, producer)
    try:
        yield stream
    finally:
        stream.close()
        await producer.stop()

"""The whole pipeline as processes, for the measurements of the whole way."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver.client import Client

from bench.load import partition_of
from bench.processes import UsageProcess, broker_with_topics, cpu_s, pid_of, produce, running
from bench.sink import clickhouse_with_tables, client_of
from bench.watch import Sample
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments

ROWS_POLL_S = 0.2
STALLED_S_MAX = 60.0
TICK_S = 0.02
_BATCH_BYTES_MAX = 1 << 20


class Pipeline:
    """A broker, a worker, a sink and a ClickHouse that run."""

    def __init__(
        self,
        settings: Settings,
        pids: Mapping[str, int],
        ours: list[UsageProcess],
        client: Client,
        producer: AIOKafkaProducer,
    ) -> None:
        self.settings = settings
        self.pids = pids
        self.client = client
        self._ours = ours
        self._producer = producer

    def check(self) -> None:
        """Raise RuntimeError when worker or sink has ended."""
        for process in self._ours:
            process.check()

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU time used so far, by process."""
        return {name: cpu_s(pid) for name, pid in self.pids.items()}

    async def rows(self) -> int:
        """Return how many lines are queryable; a look at the parts, no reading."""
        return int(await asyncio.to_thread(self.client.command, "SELECT count() FROM usage.usage_lines"))  # type: ignore[arg-type]

    async def samples(self, until: Callable[[int], bool]) -> AsyncIterator[Sample]:
        """Yield how many lines are queryable each time that there are more, until `until(rows)` holds."""
        seen, seen_at_s = -1, time.monotonic()
        while True:
            rows = await self.rows()
            now_s = time.monotonic()
            if rows > seen:
                seen, seen_at_s = rows, now_s
                yield Sample(now_s, rows, self.cpu_s(), ended=False, all_ended=False)
            if until(rows):
                return
            if now_s - seen_at_s > STALLED_S_MAX:
                raise TimeoutError(f"no more lines for {STALLED_S_MAX:g} s, after {rows:,}")
            self.check()
            await asyncio.sleep(ROWS_POLL_S)

    async def send(self, record: Record) -> None:
        """Hand a record to the producer, which sends it at once or with others."""
        await self._producer.send(
            EVENTS_TOPIC,
            record.value,
            key=record.key,
            partition=partition_of(record.key or b"", self.settings.partitions),
            timestamp_ms=record.timestamp_ms,
        )

    async def send_evenly(self, records: Iterable[Record], records_per_s: float) -> float:
        """Send records at a pace, and return how many were sent in a second."""
        began_s = time.monotonic()
        for number, record in enumerate(records):
            due_s = began_s + number / records_per_s
            if due_s > time.monotonic() + TICK_S / 2:
                await asyncio.sleep(max(due_s - time.monotonic(), TICK_S))
            await self.send(record)
        return (number + 1) / (time.monotonic() - began_s)

    async def send_while_followed(
        self, records: Iterator[Record], bundle: int, ahead: int, seconds: float
    ) -> list[Sample]:
        """Send so long as at most `ahead` events are on their way, and return the samples of so many seconds."""
        base = await self.rows()
        end_s = time.monotonic() + seconds
        found: list[Sample] = []
        sent = 0
        async for sample in self.samples(lambda _: time.monotonic() > end_s):
            found.append(sample)
            free = sample.done - base + ahead - sent
            for record in itertools.islice(records, free // bundle):
                await self.send(record)
                sent += bundle
        async for _ in self.samples(lambda rows: rows >= base + sent):
            pass
        return found


@asynccontextmanager
async def pipeline_with_backlog(
    kind: str, folder: Path, partitions: int, catalog: Path, backlog: Iterable[Record]
) -> AsyncIterator[Pipeline]:
    """Run the pipeline while the block runs; when worker and sink start, the backlog lies before them."""
    async with AsyncExitStack() as stack:
        broker, settings = await stack.enter_async_context(
            broker_with_topics(kind, folder, partitions=partitions, catalog=catalog)
        )
        clickhouse, address = await stack.enter_async_context(clickhouse_with_tables(folder / "clickhouse"))
        settings = settings.model_copy(update={"clickhouse": address})
        await produce(settings, backlog)
        producer = AIOKafkaProducer(
            **kafka_arguments(settings), max_batch_size=_BATCH_BYTES_MAX, max_request_size=2 * _BATCH_BYTES_MAX
        )
        await producer.start()
        stack.push_async_callback(producer.stop)
        client = stack.enter_context(client_of(settings))
        sink = stack.enter_context(running("sink", settings, folder))
        worker = stack.enter_context(running("worker", settings, folder))
        await asyncio.gather(sink.ready(), worker.ready())
        pids = {"broker": pid_of(broker), "worker": worker.pid, "sink": sink.pid, "clickhouse": pid_of(clickhouse)}
        yield Pipeline(settings, pids, [worker, sink], client, producer)

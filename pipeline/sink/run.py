"""The sink: `usage.lines` to ClickHouse, with manual commits after acknowledged inserts (DESIGN 5).

Its only promise to Kafka is a position, and the position follows the insert: whatever happens, lines are inserted at
least once, and the views show each line once.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from pipeline.observe.counters import Counters
from pipeline.observe.endpoint import Endpoint, MetricsPortError
from pipeline.settings import Settings
from pipeline.settings.clients import consumer_arguments
from pipeline.sink.blocks import Block, Span, Waiting, spans_of
from pipeline.sink.dead_letters import DeadLetters
from pipeline.sink.facts import FactKeeper
from pipeline.sink.flush import Flusher, TooManyRefused, persist
from pipeline.sink.health import SinkHealth
from pipeline.sink.rollups import RollupKeeper
from pipeline.sink.store import LineStore

log = logging.getLogger(__name__)

LINES_TOPIC = "usage.lines"
FETCH_BYTES_MAX = 4 * 1024 * 1024
"""Memory that is small enough is used again, not asked of the system: a fetch of 64 MB costs twice as much a byte."""
PARTITION_FETCH_BYTES_MAX = 1024 * 1024
IDLE_WAIT_MS = 200
"""How long a fetch waits when nothing is pending; also how soon a stop is seen."""
CLOSE_S_MAX = 5.0
STOP_GRACE_S = 10.0
"""How long the last flush may take after a stop; what it does not finish is sent again by the next sink."""
PROGRESS_S = 30.0
_UNKNOWN_END = 2**62
_POLL_INTERVAL_MS_MAX = 2**31 - 1


async def run_sink(settings: Settings, *, on_ready: Callable[[], None] | None = None) -> int:
    """Run a sink until SIGTERM or SIGINT, and return the exit code: 0 after a stop, 1 when it cannot go on.

    `on_ready` is called once, when the sink has its partitions and ClickHouse answers.
    """
    sink = Sink(settings, on_ready)
    endpoint = Endpoint(settings, "sink", sink.counters, sink.health.faults, sink.health.refresh)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, sink.stop)
    try:
        await endpoint.start()
        await sink.run()
    except (TooManyRefused, KafkaError, MetricsPortError) as failure:
        log.critical("%s", failure)
        return 1
    finally:
        await endpoint.stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    return 0


class Sink:
    """Gathers, flushes, commits. Partitions that are taken away end a flush at once: their new owner has the data too."""

    def __init__(self, settings: Settings, on_ready: Callable[[], None] | None = None) -> None:
        self._rows_max = settings.sink_rows_max
        self._wait_s = settings.sink_wait_ms_max / 1000
        self._settings = settings
        self._on_ready = on_ready
        self._ready = False
        self._waiting = Waiting()
        self._done: dict[TopicPartition, int] = {}
        """Up to where partitions are inserted and, unless the group was dealt out anew, committed."""
        self._assignment = _Assignment()
        self._stopping = asyncio.Event()
        self.counters = Counters()
        self.health = SinkHealth(self.counters, self._done)
        self._progress = _Progress(self.counters)

    def stop(self) -> None:
        """Flush what is there, commit it, leave the group."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until `stop`. Raises TooManyRefused, and KafkaError for what waiting does not mend."""
        store = LineStore(self._settings)
        dead_letters = DeadLetters(self._settings)
        consumer = self._consumer()
        keepers = (FactKeeper(self._settings), RollupKeeper(self._settings, self.counters))
        try:
            await self._until_stop(persist("ClickHouse", store.connect))
            await self._until_stop(persist("Kafka", consumer.start))
            if not self._stopping.is_set():
                for keeper in keepers:
                    keeper.start()
                await self._pump(consumer, Flusher(store, dead_letters, self.counters))
        finally:
            await asyncio.gather(*(keeper.stop() for keeper in keepers))
            for name, closing in (("consumer", consumer.stop()), ("producer", dead_letters.close())):
                await _close(name, closing)
            await store.close()
        log.info("sink stopped: %d rows in %d inserts", self._progress.rows, self._progress.blocks)

    def _consumer(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **consumer_arguments(self._settings),
            client_id="usage-sink",
            group_id=self._settings.sink_group,
            auto_offset_reset="earliest",
            session_timeout_ms=self._settings.sink_session_ms,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
            fetch_max_bytes=FETCH_BYTES_MAX,
            # A sink that waits for ClickHouse fetches nothing; the group must not take that for death.
            max_poll_interval_ms=_POLL_INTERVAL_MS_MAX,
            metadata_max_age_ms=30_000,
        )
        self._assignment.consumer = self.health.consumer = consumer
        consumer.subscribe([LINES_TOPIC], listener=self._assignment)
        return consumer

    async def _pump(self, consumer: AIOKafkaConsumer, flusher: Flusher) -> None:
        while True:
            block = await self._gather(consumer)
            if block is None:
                return
            repeats = self._assignment.take_repeats(block)
            begun_s = time.monotonic()
            if await self._finish(_flush_and_commit(flusher, consumer, block, repeats)):
                self._done |= block.next_offsets
                self._progress.flushed(block, consumer, time.monotonic() - begun_s)
            else:
                log.warning("gave up an insert of %d rows: it will be sent again", block.rows)
                self._waiting.clear()

    async def _gather(self, consumer: AIOKafkaConsumer) -> Block | None:
        """Return a block when there are rows enough, or when the first have waited long enough; None at the end."""
        deadline: float | None = None
        while True:
            now = time.monotonic()
            if deadline is None and not self._waiting.empty:
                deadline = now + self._wait_s
            due = deadline is not None and now >= deadline
            if not self._waiting.empty and (due or self._waiting.rows >= self._rows_max or self._stopping.is_set()):
                return self._waiting.take(self._rows_max)
            if self._stopping.is_set():
                return None
            wait_ms = IDLE_WAIT_MS if deadline is None else min(IDLE_WAIT_MS, int((deadline - now) * 1000) + 1)
            fetched = await consumer.getmany(timeout_ms=wait_ms)
            if self._assignment.take_revoked():
                # What waited belongs to an assignment that is over. What was just fetched belongs to the present one.
                # The consumer may still stand where the old one was read to, behind what is dropped here: no position counts.
                self._waiting.clear()
                self._done.clear()
                self._waiting.add(fetched)
                deadline = None
                continue
            self._waiting.add(fetched)
            self._report_ready(consumer)
            if self._waiting.empty and (passed := await self._passed(consumer)):
                return Block((), 0, passed)

    async def _finish(self, work: Coroutine[Any, Any, None]) -> bool:
        """Await a flush and tell whether it is done, unless its partitions are taken away or the time after a stop is up."""
        flush = asyncio.create_task(work)
        revoked = asyncio.create_task(self._assignment.revoked.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({flush, revoked, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not flush.done() and not revoked.done():
                await asyncio.wait({flush, revoked}, timeout=STOP_GRACE_S, return_when=asyncio.FIRST_COMPLETED)
            if flush.done():
                flush.result()
            return flush.done()
        finally:
            await _cancel(flush, revoked, stopping)

    async def _until_stop(self, work: Coroutine[Any, Any, None]) -> None:
        """Await work, or its cancellation by a stop."""
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            await _cancel(task, stopping)

    async def _passed(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Return positions that went on without a line, over the ends of transactions: else we would seem to be behind."""
        passed = {}
        for place in consumer.assignment():
            if consumer.highwater(place) is None:
                continue  # nothing was fetched yet, so nothing is known
            position = await consumer.position(place)
            if position > self._done.get(place, 0):
                passed[place] = position
        self._done |= passed
        return passed

    def _report_ready(self, consumer: AIOKafkaConsumer) -> None:
        if self._ready or not self._assignment.assigned:
            return
        self._ready = True
        log.info(
            "sink ready: %s, partitions %s", LINES_TOPIC, sorted(place.partition for place in consumer.assignment())
        )
        if self._on_ready is not None:
            self._on_ready()


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes when the group takes partitions away, and where the log ended when it gave some."""

    def __init__(self) -> None:
        self.revoked = asyncio.Event()
        self.assigned = False
        self.consumer: AIOKafkaConsumer | None = None
        self._ends: dict[TopicPartition, int] = {}

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Note that what was fetched so far is no longer ours to commit."""
        self._ends.clear()
        if revoked:
            self.revoked.set()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Note that the group has dealt out its partitions: what is in the log by now, an earlier sink may have inserted."""
        self.assigned = True
        if self.consumer is None or not assigned:
            return
        try:
            self._ends = await self.consumer.end_offsets(list(assigned))
        except KafkaError as failure:
            log.warning("where %s ends is not known, everything from here on may be a repeat: %r", LINES_TOPIC, failure)
            self._ends = dict.fromkeys(assigned, _UNKNOWN_END)

    def take_repeats(self, block: Block) -> dict[TopicPartition, Span]:
        """Return which records an earlier sink may have inserted, for the partitions of which this is the first block."""
        firsts = spans_of(block.pieces)
        ends = {place: self._ends.pop(place, 0) for place in firsts}
        return {place: (first, ends[place]) for place, (first, _) in firsts.items() if first < ends[place]}

    def take_revoked(self) -> bool:
        """Tell whether partitions were taken away since the last call."""
        revoked = self.revoked.is_set()
        self.revoked.clear()
        return revoked


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _flush_and_commit(
    flusher: Flusher, consumer: AIOKafkaConsumer, block: Block, repeats: Mapping[TopicPartition, Span]
) -> None:
    await flusher.flush(block, repeats)
    await persist("Kafka", lambda: _commit(consumer, block.next_offsets))


async def _commit(consumer: AIOKafkaConsumer, next_offsets: Mapping[TopicPartition, int]) -> None:
    """Commit positions. One that comes too late costs nothing but inserting again: the views do not notice."""
    try:
        await consumer.commit(dict(next_offsets))
    except (CommitFailedError, IllegalStateError):
        log.info("the group was dealt out anew before a commit: the block may be sent again")


class _Progress:
    """Counts, and says now and then how far the sink is."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self.rows = 0
        self.blocks = 0
        self._said_at = time.monotonic()
        self._said_rows = 0

    def flushed(self, block: Block, consumer: AIOKafkaConsumer, took_s: float) -> None:
        """Count a block; log a line when the last one is long ago."""
        self.rows += block.rows
        self.blocks += 1
        if block.rows:
            self._counters.add("sink_rows", block.rows)
            self._counters.add("sink_inserts")
            self._counters.observe("sink_insert_seconds", took_s)
            self._counters.level("sink_last_insert_timestamp_seconds", time.time())
        now = time.monotonic()
        passed = now - self._said_at
        if passed < PROGRESS_S:
            return
        behind = sum(
            max(0, (consumer.highwater(place) or 0) - next_offset) for place, next_offset in block.next_offsets.items()
        )
        rate = (self.rows - self._said_rows) / passed
        log.info("%d rows in, %.0f rows/s, %d messages behind", self.rows, rate, behind)
        self._said_at, self._said_rows = now, self.rows


async def _close(name: str, closing: Coroutine[Any, Any, None]) -> None:
    """Wait for a Kafka client to close, but not for ever: while Kafka is away it cannot take leave."""
    task = asyncio.create_task(closing)
    await asyncio.wait({task}, timeout=CLOSE_S_MAX)
    if not task.done():
        task.cancel()
        log.warning("the %s did not close within %g s, is left", name, CLOSE_S_MAX)
    elif task.cancelled() or task.exception() is not None:
        log.warning("the %s did not close in order: %r", name, "cancelled" if task.cancelled() else task.exception())

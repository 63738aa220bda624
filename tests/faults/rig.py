"""The stack of a round: a broker, ClickHouse, workers and a sink as processes, each behind proxies of its own."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import clickhouse_connect
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code
from clickhouse_connect.driver.client import Client

from pipeline.embedded.stack import environment_of
from pipeline.settings import Settings, load_settings
from pipeline.settings.clients import clickhouse_arguments
from pipeline.sink.migrations import migrate
from pipeline.stream.topics import TOPICS, TopicError, ensure_topics
from tests.faults.processes import STARTED, STOP_S_MAX, Kept, dying_with, until
from tests.faults.proxy import HttpProxy, KafkaProxy
from tests.faults.steps import Orders
from tests.fixtures.apache_kafka import apache_kafka_server
from tests.fixtures.servers import Server, broker_server, clickhouse_server

PARTITIONS = 4
SESSION_MS = 3000
REBALANCE_MS = 6000
PAUSE_S_MAX = 1.0
"""A process that has died is started again within this time."""
READY_S_MAX = 60.0


class Servers:
    """Broker and ClickHouse. ClickHouse and Apache Kafka serve many rounds, as their starts are slow."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind = kind
        self._folder = folder
        self._brokers = 0
        self.clickhouse = _kept(clickhouse_server(folder / "clickhouse"))
        self.broker: Server | None = None
        self._down: set[Server] = set()

    async def begin_round(self) -> None:
        """Make an empty broker and empty tables."""
        if self.clickhouse.process is None:
            await self.clickhouse.started()
        await asyncio.to_thread(self._empty_tables)
        if self._kind == "apache" and self.broker is not None:
            await _delete_topics(self.broker.address)
        else:
            if self.broker is not None:
                self.broker.kill()
            self._brokers += 1
            self.broker = await self._new_broker().started()

    def _new_broker(self) -> Server:
        folder = self._folder / f"broker-{self._brokers}"
        if self._kind == "apache":
            return _kept(apache_kafka_server(folder, group_min_session_timeout_ms="1000"))
        return _kept(broker_server(folder))

    def _empty_tables(self) -> None:
        with contextlib.closing(client_of(load_settings(clickhouse=self.clickhouse.address))) as client:
            migrate(client)
            for table in ("usage_lines", "sink_positions", "sink_repeats"):
                client.command(f"TRUNCATE TABLE usage.{table}")

    async def kill_and_restart(self, server: Server, pause_s: float) -> None:
        """Kill a server with SIGKILL and start it again; do nothing when it is down already."""
        if server in self._down:
            return
        self._down.add(server)
        try:
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(pause_s)
            await server.started()
        finally:
            self._down.discard(server)

    def is_up(self, server: Server) -> bool:
        """Tell whether a server runs and is not about to be killed."""
        return server not in self._down and server.process is not None and server.process.poll() is None

    def kill(self) -> None:
        """End both."""
        for server in (self.clickhouse, self.broker):
            if server is not None and server.process is not None:
                server.kill()


def _kept(server: Server) -> Server:
    """Make sure that a server dies with us."""
    server._arguments = dying_with(os.getpid(), server._arguments)
    return server


async def _delete_topics(kafka: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        present = set(await admin.list_topics()) & set(TOPICS)
        answer = await admin.delete_topics(sorted(present))
        for _, code, *_ in answer.topic_error_codes:
            if code not in (0, UnknownTopicOrPartitionError.errno):
                raise for_code(code)
        while set(await admin.list_topics()) & set(TOPICS):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


def client_of(settings: Settings) -> Client:
    """Return a client of ClickHouse."""
    return clickhouse_connect.get_client(**clickhouse_arguments(settings))


@dataclass
class Member:
    """A worker or the sink, with what lies between it and the servers."""

    process: Kept
    kafka: KafkaProxy
    orders: Orders
    clickhouse: HttpProxy | None = None

    @property
    def name(self) -> str:
        """Return its name."""
        return self.process.name

    def is_ready(self) -> bool:
        """Tell whether it runs and has had its partitions since its last start."""
        log = self.process.log()
        return self.process.pid is not None and log.rfind(" ready: ") > log.rfind(STARTED)

    async def order(self, step: str, passes: int, number: signal.Signals, patience_s: float) -> bool:
        """Order it to kill or freeze itself at a step, and tell whether it has come there in time."""
        if self.orders.given:
            return False  # it has another one
        killed = self.process.killed
        self.orders.give(step, passes, number)
        with contextlib.suppress(TimeoutError):
            await until(lambda: self.orders.carried_out, f"{self.name} to reach {step!r}", patience_s)
            if number == signal.SIGKILL:
                await until(lambda: self.process.killed > killed, f"{self.name} to die", STOP_S_MAX)
            return True
        self.orders.withdraw()
        return False

    async def stop(self) -> None:
        """End it and its proxies."""
        await self.process.stop()
        await self._stop_proxies()

    async def kill(self) -> None:
        """End it and its proxies at once."""
        await self.process.kill()
        await self._stop_proxies()

    async def _stop_proxies(self) -> None:
        for proxy in (self.kafka, self.clickhouse):
            if proxy is not None:
                await proxy.stop()


class Rig:
    """One round's stack. `without` names a protection that its workers or its sink do without."""

    def __init__(
        self, servers: Servers, folder: Path, name: str, catalog: Path, rng: Random, without: str = ""
    ) -> None:
        assert servers.broker is not None
        self.servers = servers
        self.broker = servers.broker
        self.folder = folder
        self.rng = rng
        self.workers: list[Member] = []
        self.gone: list[Member] = []
        """Workers and sinks that were removed."""
        self.sinks: list[Member] = []
        self._without = without
        self._made = 0
        self.settings = load_settings(
            kafka=self.broker.address,
            clickhouse=servers.clickhouse.address,
            catalog=catalog,
            partitions=PARTITIONS,
            worker_group=f"workers-{name}",
            sink_group=f"sinks-{name}",
            worker_session_ms=SESSION_MS,
            worker_rebalance_ms=REBALANCE_MS,
            worker_commit_ms=200,
            merge_hold_ms=200,
            sink_wait_ms_max=100,
            sink_session_ms=SESSION_MS,
        )

    async def start(self, workers: int) -> None:
        """Make the topics, start workers and a sink, and return when all are ready."""
        await _topics(self.settings)
        for _ in range(workers):
            await self.add_worker()
        await self.add_sink()
        await self.ready()

    async def ready(self) -> None:
        """Wait until every worker has its partitions since its last start, and the sinks too."""
        for member in [*self.workers, *self.sinks]:
            await until(member.is_ready, f"{member.name} to be ready", READY_S_MAX)

    async def add_worker(self) -> Member:
        """Start one more worker."""
        member = await self._member("worker", "tests.faults.worker_process")
        self.workers.append(member)
        return member

    async def remove_worker(self, member: Member) -> None:
        """Stop a worker in order."""
        self.workers.remove(member)
        self.gone.append(member)
        await member.stop()

    async def add_sink(self) -> Member:
        """Start a sink."""
        member = await self._member("sink", "tests.faults.sink_process")
        self.sinks.append(member)
        return member

    async def _member(self, kind: str, module: str) -> Member:
        self._made += 1
        name = f"{kind}-{self._made}"
        kafka, clickhouse = KafkaProxy(self.broker.port), HttpProxy(self.servers.clickhouse.port)
        await kafka.start()
        await clickhouse.start()
        settings = self.settings.model_copy(
            update={"kafka": kafka.address, "clickhouse": f"http://{clickhouse.address}", "worker_name": name}
        )
        orders = Orders(self.folder / f"{name}.order")
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("USAGE_")},
            **environment_of(settings),
            "FAULTS_ORDERS": str(orders.path),
            "FAULTS_WITHOUT": self._without,
        }
        process = Kept(
            name,
            [sys.executable, "-m", module],
            environment,
            self.folder / f"{name}.log",
            lambda: self.rng.uniform(0, PAUSE_S_MAX),
        )
        process.start()
        return Member(process, kafka, orders, clickhouse)

    async def stop(self) -> None:
        """End everything of ours at once; the servers stay."""
        await asyncio.gather(*(member.kill() for member in [*self.workers, *self.sinks]))

    def deaths(self) -> dict[str, int]:
        """Return by process how often it ended by itself."""
        return {
            member.name: member.process.deaths
            for member in [*self.workers, *self.sinks, *self.gone]
            if member.process.deaths
        }


async def _topics(settings: Settings) -> None:
    """Make the topics; Apache Kafka may still be busy deleting those of the last round."""
    deadline = time.monotonic() + READY_S_MAX
    while True:
        try:
            await ensure_topics(settings)
        except (TopicError, KafkaError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
        else:
            return

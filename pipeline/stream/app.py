"""The Faust app of the worker: two agents, one table, Faust's group, assignment, recovery and commit."""

from collections.abc import Callable
from typing import Any

import faust
from faust.app.base import BootStrategy

from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC
from pipeline.observe.counters import Counters
from pipeline.published import VersionFollower
from pipeline.settings import Settings
from pipeline.stream.bundles import BundleSchema
from pipeline.stream.consumer import BundleTransport
from pipeline.stream.effects import PartitionWriter
from pipeline.stream.holdings import Holdings, LedgerFactory
from pipeline.stream.rounds import Rounds
from pipeline.stream.tables import LedgerTable, LedgerTables
from pipeline.stream.topics import check_topics

BUNDLES_BUFFERED_MAX = 4096
"""Bundles on their way to an agent; at 80 % Faust stops a partition for a second, so it must never be reached. What is
held is bounded by worker_buffer_bytes_max."""


class WorkerBoot(BootStrategy):
    """Start neither Faust's producer, which nothing of ours uses, nor its web server."""

    enable_kafka_producer = False
    enable_web = False


class WorkerApp(faust.App):
    """A Faust app whose consumer hands over bundles, whose table holds ledgers, and which stops at the first error."""

    BootStrategy = WorkerBoot
    mundane_level = "debug"

    settings: Settings
    counters: Counters
    holdings: Holdings
    rounds: Rounds
    versions: VersionFollower

    def __init__(self, settings: Settings, counters: Counters, name: str | None, **options: Any) -> None:
        self.settings = settings
        self.worker_name = name
        self.counters = counters
        self.on_recovered: Callable[[list[int], int], None] | None = None
        super().__init__(settings.worker_group, **options)

    def _new_transport(self) -> BundleTransport:
        return BundleTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Create none: all state is in memory and in the changelog."""

    async def on_start(self) -> None:
        """Check the topics before anything can arrive."""
        await check_topics(self.settings)
        await self.versions.start()
        await super().on_start()
        await self.rounds.start()

    async def on_stop(self) -> None:
        """Finish the rounds under way before the consumer commits and leaves the group."""
        await self.rounds.stop()
        await self.versions.stop()
        await super().on_stop()
        await self.holdings.keep(set())

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:  # noqa: ARG002 - Faust's signature
        """Stop the worker: Faust would commit the event at which the agent failed, and go on."""
        await self.crash(exc)


def create_app(
    settings: Settings, new_ledger: LedgerFactory, name: str | None = None, versions: VersionFollower | None = None
) -> WorkerApp:
    """Return the app of one worker process; `new_ledger` makes the empty ledger of a partition.

    `name` is the worker's in its group (group.instance.id); without one, the member is another after each start.
    """
    app = WorkerApp(
        settings,
        Counters(),
        name,
        broker=[f"kafka://{server.strip()}" for server in settings.kafka.split(",")],
        TableManager=LedgerTables,
        Table=LedgerTable,
        store="memory://",
        broker_commit_interval=settings.worker_commit_ms / 1000,
        broker_session_timeout=settings.worker_session_ms / 1000,  # bounds Faust's rebalance callbacks
        stream_buffer_maxsize=BUNDLES_BUFFERED_MAX,
        stream_wait_empty=False,  # what is not finished is done again; waiting for it can block a rebalance
        stream_recovery_delay=0.0,
        table_standby_replicas=0,  # of no use to a store in memory (EVIDENCE 2)
        topic_disable_leader=True,
        topic_allow_declare=False,  # `usage topics` creates them
        web_enabled=False,
    )
    app.versions = versions or VersionFollower(settings)
    app.rounds = Rounds(app)
    app.holdings = Holdings(new_ledger, lambda partition: PartitionWriter(settings, app.counters, partition))
    app.Table("ledgers", key_type=bytes, value_type=bytes)
    add_agents(app)
    return app


def add_agents(app: WorkerApp) -> None:
    """Add an agent for each source topic; both hand their bundles to the rounds, which merge the topics by partition."""

    @app.agent(app.topic(EVENTS_TOPIC, schema=BundleSchema()), name="rate_events", concurrency=1)
    async def rate_events(stream: Any) -> None:
        async for bundle in stream.noack():
            app.rounds.deliver(bundle)

    @app.agent(app.topic(GRANTS_TOPIC, schema=BundleSchema()), name="apply_grants", concurrency=1)
    async def apply_grants(stream: Any) -> None:
        async for bundle in stream.noack():
            app.rounds.deliver(bundle)

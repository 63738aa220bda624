"""What a worker says when it is asked: its gauges, and whether it works."""

import asyncio
import time

from aiokafka.errors import KafkaError

from pipeline.stream.app import WorkerApp
from pipeline.stream.lag import Waits

ASK_S_MAX = 2.0
"""How long Kafka may take to say where the sources end."""


class WorkerHealth:
    """Asks an app, and Kafka for the lag."""

    def __init__(self, app: WorkerApp) -> None:
        self._app = app
        self._waits = Waits()

    async def faults(self) -> list[str]:
        """Return what keeps the worker from working: it has no partitions, or their states are not recovered yet."""
        return [] if self._app.rounds.partitions() else ["no partition is assigned and recovered"]

    async def refresh(self) -> None:
        """Bring the gauges up to date; while Kafka does not answer there is no lag, rather than an old one."""
        counters = self._app.counters
        counters.level("worker_partitions", len(self._app.rounds.partitions()))
        counters.level("catalog_waiting", self._app.versions.waiting)
        try:
            async with asyncio.timeout(ASK_S_MAX):
                lags = await self._app.rounds.lags()
        except (KafkaError, TimeoutError):
            counters.level("worker_lag_records", None)
            counters.level("worker_lag_seconds", None)
            return
        counters.level("worker_lag_records", sum(lag.offsets for lag in lags.values()))
        counters.level("worker_lag_seconds", self._waits.longest_s(lags, time.time()))

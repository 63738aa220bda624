"""One round: a fresh stack, a journal, faults on the way, and what came out against the offline rating."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from pipeline.catalog.load import load_catalog
from tests.faults.compare import (
    Drift,
    compare_balances,
    compare_outputs,
    compare_quotas,
    compare_sources,
    compare_tables,
    rate_sources,
    read_logs,
)
from tests.faults.faults import FAULTS, Injection
from tests.faults.feeder import Feeder
from tests.faults.journal import catalog_text, make_round
from tests.faults.processes import DEATHS_MAX
from tests.faults.rig import PARTITIONS, Rig, Servers, client_of
from tests.faults.watch import NotDrainedError, Watch

DRAIN_S_MAX = 90.0
RECOVER_S_MAX = 120.0
FAULTS_A_ROUND = (2, 5)


@dataclass(frozen=True)
class Options:
    """What a round is made of; None lets its seed choose."""

    events: int = 3000
    workers: int | None = None
    only: tuple[str, ...] = ()
    faults: int | None = None
    feed_s: float = 5.0
    without: str = ""
    """A protection that workers or sink do without (unprotected_worker.py, unprotected_sink.py)."""
    final: bool = True
    """Whether the tables are read as the views do."""


@dataclass
class Outcome:
    """What came of a round."""

    seed: int
    workers: int
    injected: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Faults whose moment did not come."""
    drift: Drift = field(default_factory=Drift)
    recoveries_s: list[float] = field(default_factory=list)
    """For each fault, from its end: how long until all that was fed before it was in ClickHouse."""
    deaths: dict[str, int] = field(default_factory=dict)
    took_s: float = 0.0
    lines: int = 0
    folder: Path | None = None
    """Logs of the processes, kept when there is drift."""


class Round:
    """The round of a seed. Inside its context the stack runs; `finish` says what came out."""

    def __init__(self, servers: Servers, folder: Path, seed: int, options: Options) -> None:
        self._servers = servers
        self._options = options
        self._begun = time.monotonic()
        self.folder = Path(tempfile.mkdtemp(prefix=f"round-{seed}-", dir=folder))
        self.rng = Random(f"round {seed}")
        self.case = make_round(seed, options.events, PARTITIONS)
        self.outcome = Outcome(seed, options.workers or self.rng.choice((1, 2, 2, 3, 4)))

    async def __aenter__(self) -> Self:
        self._catalog = self.folder / "catalog.yaml"
        self._catalog.write_text(catalog_text(self.case.catalog))
        await self._servers.begin_round()
        seed, options = self.outcome.seed, self._options
        self.rig = Rig(self._servers, self.folder, str(seed), self._catalog, self.rng, options.without)
        settings = self.rig.settings
        self.watch = Watch(settings.kafka, PARTITIONS, settings.worker_group, settings.sink_group)
        self.feeder = Feeder(settings.kafka, self.case.entries, PARTITIONS, seed, options.feed_s)
        try:
            await self.rig.start(self.outcome.workers)
        except BaseException:
            await self.rig.stop()
            raise
        self.watch.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.watch.stop()
        await self.rig.stop()

    async def play(self) -> None:
        """Feed the journal, and inject the faults of the schedule on the way."""
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(self.feeder.feed())
            for share, name in schedule(self.rng, self._options):
                while self.feeder.progress < share and not feeding.done():  # noqa: ASYNC110 - it is a share
                    await asyncio.sleep(0.02)
                tasks.create_task(self._inject(name, FAULTS[name], Random(f"{self.outcome.seed} {share}")))

    async def _inject(self, name: str, injection: Injection, rng: Random) -> None:
        fed = dict(self.feeder.acknowledged)
        if not await injection(self.rig, rng):
            self.outcome.missed.append(name)
            return
        over = time.monotonic()
        self.outcome.injected.append(name)
        with contextlib.suppress(NotDrainedError):  # `finish` reports it
            await self.watch.done_up_to(fed, RECOVER_S_MAX)
            self.outcome.recoveries_s.append(time.monotonic() - over)

    async def finish(self) -> Outcome:
        """Wait until everything is done, end the processes, and compare what came out with the offline rating."""
        outcome = self.outcome
        try:
            await self.watch.done_up_to(self.feeder.acknowledged, DRAIN_S_MAX)
        except NotDrainedError as failure:
            outcome.drift.add("not drained", failure)
        outcome.deaths = self.rig.deaths()
        for name, count in outcome.deaths.items():
            if count >= DEATHS_MAX:
                outcome.drift.add("kept dying", name)
        await self.rig.stop()
        await self._compare()
        outcome.took_s = time.monotonic() - self._begun
        if outcome.drift:
            outcome.folder = self.folder
        else:
            shutil.rmtree(self.folder)
        return outcome

    async def _compare(self) -> None:
        drift = self.outcome.drift
        logs = await read_logs(self.rig.broker.address, PARTITIONS)
        catalog = load_catalog(self._catalog)
        expected = await asyncio.to_thread(rate_sources, catalog, logs.sources(PARTITIONS))
        self.outcome.lines = len(expected.lines)
        compare_sources(self.case.entries[: self.feeder.sent], logs, drift, len(self.feeder.given_up))
        compare_outputs(expected, logs, drift)
        compare_balances(expected, catalog, logs, PARTITIONS, drift)
        compare_quotas(expected, catalog, logs, drift)
        with contextlib.closing(client_of(self.rig.settings)) as client:
            await asyncio.to_thread(compare_tables, expected, client, drift, final=self._options.final)


def schedule(rng: Random, options: Options) -> list[tuple[float, str]]:
    """Return the names of faults, each with the share of the journal at which it comes."""
    names = list(options.only or FAULTS)
    count = options.faults if options.faults is not None else rng.randint(*FAULTS_A_ROUND)
    return sorted((rng.uniform(0.02, 0.98), rng.choice(names)) for _ in range(count))


async def play_round(servers: Servers, folder: Path, seed: int, options: Options) -> Outcome:
    """Play the round of a seed."""
    async with Round(servers, folder, seed, options) as current:
        await current.play()
        return await current.finish()

"""Run one worker in this process, from start to SIGTERM."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable

import uvloop
from aiokafka.errors import KafkaError

from pipeline.domain.catalog import NO_CATALOG, Catalog
from pipeline.observe.endpoint import Endpoint, MetricsPortError
from pipeline.published import VersionFollower
from pipeline.rating.ledger import Ledger
from pipeline.settings import Settings
from pipeline.stream.app import WorkerApp, create_app
from pipeline.stream.health import WorkerHealth
from pipeline.stream.holdings import LedgerFactory
from pipeline.stream.memory import freeze, keep_memory
from pipeline.stream.names import worker_name
from pipeline.stream.topics import TopicError

EXIT_OK = 0
EXIT_FAILED = 1
PROGRESS_S = 10.0
CRASH_STOP_S_MAX = 3.0
STOP_S_MAX = 20.0
"""After which a worker that cannot stop in order is ended: what is not committed is done again."""

log = logging.getLogger(__name__)


def run_worker(
    settings: Settings,
    catalog: Catalog | None,
    on_ready: Callable[[], None] | None = None,
    new_ledger: LedgerFactory | None = None,
) -> int:
    """Rate until SIGTERM or SIGINT and return the exit code: 0 when stopped in order, else 1.

    `catalog` serves partitions in which no version was published yet; without it they wait for the first (R10.4).

    `on_ready` is called once, when partitions are assigned and their states recovered ("worker ready" in the log).
    """
    keep_memory()
    with worker_name(settings.worker_group) as claimed:
        name = settings.worker_name or claimed
        versions = VersionFollower(settings)
        factory = new_ledger or (lambda: Ledger(catalog or NO_CATALOG, versions.versions.catalog))
        return uvloop.run(_run(settings, name, factory, versions, on_ready))


async def _run(
    settings: Settings,
    name: str,
    new_ledger: LedgerFactory,
    versions: VersionFollower,
    on_ready: Callable[[], None] | None,
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = create_app(settings, new_ledger, name, versions)
    _announce(app, on_ready)
    health = WorkerHealth(app)
    endpoint = Endpoint(settings, "worker", app.counters, health.faults, health.refresh)
    try:
        await endpoint.start()
    except MetricsPortError as error:
        log.critical("worker failed: %s", error)
        return EXIT_FAILED
    begun_s = time.monotonic()
    log.info("worker %s starting: group %s at %s", name, settings.worker_group, settings.kafka)
    stopping = asyncio.create_task(stop.wait())
    running = asyncio.create_task(_start(app))
    progress = asyncio.create_task(_report(app))
    await asyncio.wait([stopping, running], return_when=asyncio.FIRST_COMPLETED)
    code = _exit_code(app, running)
    log.info("worker stopping, it ran for %.0f s", time.monotonic() - begun_s)
    for task in (stopping, progress):
        task.cancel()
    await _stop(app)
    await endpoint.stop()
    running.cancel()
    code = EXIT_FAILED if app.crashed else code
    log.info("worker stopped: %s", _counted(app))
    return code


async def _start(app: WorkerApp) -> None:
    """Start the app and return when it has stopped or crashed."""
    await app.start()
    await app.wait_until_stopped()


def _exit_code(app: WorkerApp, running: "asyncio.Task[None]") -> int:
    if not running.done():
        return EXIT_OK
    failure = running.exception() or app.crash_reason
    if isinstance(failure, TopicError | KafkaError):
        log.critical("worker failed: %s", failure)
        return EXIT_FAILED
    log.critical("worker failed: %r", failure, exc_info=None if app.crashed else failure)  # a crash is logged already
    return EXIT_FAILED


async def _stop(app: WorkerApp) -> None:
    try:
        await asyncio.wait_for(app.stop(), CRASH_STOP_S_MAX if app.crashed else STOP_S_MAX)
    except TimeoutError:
        log.critical("worker could not stop in time: ending it; what was not committed is rated again")
        logging.shutdown()
        os._exit(EXIT_FAILED)


def _announce(app: WorkerApp, on_ready: Callable[[], None] | None) -> None:
    waiting: list[Callable[[], None]] = [freeze, *([on_ready] if on_ready else [])]

    def recovered(partitions: list[int], restored: int) -> None:
        log.info("worker ready: partitions %s, %d state records recovered", partitions, restored)
        while waiting:
            waiting.pop(0)()

    app.on_recovered = recovered


async def _report(app: WorkerApp) -> None:
    """Log the counters now and then, when they have moved."""
    before = app.counters.shown()
    while True:
        await asyncio.sleep(PROGRESS_S)
        shown = app.counters.shown()
        if shown != before:
            log.info("%s, lag %s", _counted(app), await _lag(app))
        before = shown


async def _lag(app: WorkerApp) -> str:
    try:
        return str(await app.rounds.lag())
    except KafkaError as failure:
        return f"unknown ({failure!r})"


def _counted(app: WorkerApp) -> str:
    return ", ".join(f"{name} {value}" for name, value in app.counters.shown().items() if value)

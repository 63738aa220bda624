"""Simulating the lines of many customers: one process a core, each with a connection of its own."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from pipeline.billing.simulate import Part, PartResult, simulate_part
from pipeline.domain.catalog import Catalog
from pipeline.domain.grants import Grant
from pipeline.settings import Settings
from pipeline.settings.clients import clickhouse_arguments

_held: dict[str, Any] = {}
"""Of a process of the pool: what all parts share."""


def cores() -> int:
    """Return how many processes may run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def pool_of(processes: int, start: Callable[..., None], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """Run a pool of new processes; whatever ends the block ends them, and Ctrl-C is this process's business alone."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(start, *arguments))
    try:
        yield pool
    except BaseException:
        workers = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(start: Callable[..., None], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start(*arguments)


def simulate_parts(
    settings: Settings,
    parts: Sequence[Part],
    new: Catalog,
    grants: Mapping[str, Sequence[Grant]],
    left_out: frozenset[str],
    on_lines: Callable[[int], object] = lambda _: None,
) -> Iterator[PartResult]:
    """Yield what becomes of each part, as it is done. Raises ClickHouseError, MovingError."""
    with pool_of(min(cores(), len(parts)) or 1, _start, settings, new, grants, left_out) as pool:
        waiting: set[Future[PartResult]] = {pool.submit(_simulate, part) for part in parts}
        for done in as_completed(waiting):
            result = done.result()
            on_lines(result.lines)
            yield result


def _start(settings: Settings, new: Catalog, grants: Mapping[str, Sequence[Grant]], left_out: frozenset[str]) -> None:
    _held.update(client=_connect(settings), new=new, grants=grants, left_out=left_out)


def _connect(settings: Settings) -> Client:
    return clickhouse_connect.get_client(**clickhouse_arguments(settings), compress=False)


def _simulate(part: Part) -> PartResult:
    return simulate_part(_held["client"], part, _held["new"], _held["grants"], _held["left_out"])

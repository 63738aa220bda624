"""What all faults are made of: whom they hit, and how a message is caught on its way."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from random import Random

from pipeline.domain.records import LINES_TOPIC
from tests.faults.proxy import PRODUCE, Trap
from tests.faults.rig import Member, Rig

KILL, STOP, CONTINUE = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT
STEP_S_MAX = 6.0
"""How long a process may take to come to a step; at the end of a round nothing may be left to do."""
TAKEN_OVER_S_MAX = 30.0
Injection = Callable[[Rig, Random], Awaitable[bool]]
"""Breaks something, and tells whether it came to pass."""


def a_worker(rig: Rig, rng: Random) -> Member | None:
    running = [worker for worker in rig.workers if worker.process.pid is not None and not worker.process.stopped]
    return rng.choice(running) if running else None


def a_sink(rig: Rig, rng: Random) -> Member | None:
    running = [sink for sink in rig.sinks if sink.process.pid is not None and not sink.process.stopped]
    return rng.choice(running) if running else None


async def caught(
    worker: Member, api: int, *, on_request: bool, action: Callable[[], None], goes_on: bool = True
) -> bool:
    """Do something when a message of a worker, or its answer, comes by; tell whether one has in time."""
    caught = asyncio.Event()

    async def act() -> bool:
        action()
        caught.set()
        return goes_on

    worker.kafka.set_trap(Trap(api, on_request, LINES_TOPIC.encode() if api == PRODUCE else b"", act))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(caught.wait(), STEP_S_MAX)
    worker.kafka.set_trap(None)
    return caught.is_set()

"""Faults of workers: killed, frozen, held, added, removed."""

import asyncio
import contextlib
from random import Random

from tests.faults.aim import CONTINUE, KILL, STEP_S_MAX, STOP, TAKEN_OVER_S_MAX, Injection, a_worker, caught
from tests.faults.processes import until
from tests.faults.rig import SESSION_MS, Member, Rig


async def kill_worker(rig: Rig, rng: Random) -> bool:
    """Kill a worker at a random moment."""
    worker = a_worker(rig, rng)
    return worker is not None and worker.process.send(KILL)


def kill_worker_at(step: str, passes: int | None = None) -> Injection:
    """Kill a worker at a step between effects, the first time or after `passes`."""

    async def inject(rig: Rig, rng: Random) -> bool:
        worker, passed = a_worker(rig, rng), rng.randint(0, 3) if passes is None else passes
        return worker is not None and await worker.order(step, passed, KILL, STEP_S_MAX)

    return inject


async def freeze_worker(rig: Rig, rng: Random) -> bool:
    """Freeze a worker at a random moment until others have its partitions; it goes on as a zombie."""
    worker = a_worker(rig, rng)
    if worker is None:
        return False
    readies = await _ready_counts(rig, worker)
    return worker.process.send(STOP) and await _go_on_after_takeover(rig, worker, readies)


def freeze_worker_at(step: str, passes: int | None = None) -> Injection:
    """Freeze a worker at a step until others have its partitions: a zombie that writes late."""

    async def inject(rig: Rig, rng: Random) -> bool:
        worker = a_worker(rig, rng)
        if worker is None:
            return False
        readies = await _ready_counts(rig, worker)
        if not await worker.order(step, rng.randint(0, 3) if passes is None else passes, STOP, STEP_S_MAX):
            return False
        worker.process.stopped = True
        return await _go_on_after_takeover(rig, worker, readies)

    return inject


async def _ready_counts(rig: Rig, but: Member) -> dict[str, int]:
    """Return how often each other worker has said that it is ready; there is another one after this."""
    if len(rig.workers) == 1:
        await rig.add_worker()
    return {worker.name: worker.process.logged("worker ready") for worker in rig.workers if worker is not but}


async def _go_on_after_takeover(rig: Rig, frozen: Member, readies: dict[str, int]) -> bool:
    """Let a frozen worker go on when another has got its partitions."""
    try:
        await _wait_for_takeover(rig, frozen, readies)
    finally:
        frozen.process.send(CONTINUE)
    return True


async def _wait_for_takeover(rig: Rig, silent: Member, readies: dict[str, int]) -> None:
    """Wait until others have the partitions of a silent worker, or nobody is left who could."""

    def taken_over() -> bool:
        others = [worker for worker in rig.workers if worker is not silent and not worker.process.stopped]
        return not others or any(
            worker.process.logged("worker ready") > readies.get(worker.name, 0) for worker in others
        )

    await asyncio.sleep(SESSION_MS / 1000)  # before that the group cannot miss it
    with contextlib.suppress(TimeoutError):
        await until(taken_over, f"another worker to take over from {silent.name}", TAKEN_OVER_S_MAX)


def hold_worker_at(api: int) -> Injection:
    """Hold all that a worker and the broker say, from a write or commit on until others have its partitions."""

    async def inject(rig: Rig, rng: Random) -> bool:
        worker = a_worker(rig, rng)
        if worker is None:
            return False
        readies = await _ready_counts(rig, worker)
        if not await caught(worker, api, on_request=True, action=worker.kafka.hold):
            return False
        try:
            await _wait_for_takeover(rig, worker, readies)
        finally:
            worker.kafka.release()
        return True

    return inject


async def add_worker(rig: Rig, rng: Random) -> bool:  # noqa: ARG001 - the signature of faults
    """Start one more worker under load."""
    await rig.add_worker()
    return True


async def remove_worker(rig: Rig, rng: Random) -> bool:
    """Stop a worker in order under load; when it is the last, another one is started first."""
    worker = a_worker(rig, rng)
    if worker is None:
        return False
    if len(rig.workers) == 1:
        await rig.add_worker()
    await rig.remove_worker(worker)
    return True

"""Faults of the sink, the servers and the network."""

import asyncio
import contextlib
from random import Random

from tests.faults.aim import CONTINUE, KILL, STEP_S_MAX, STOP, TAKEN_OVER_S_MAX, Injection, a_sink, a_worker, caught
from tests.faults.processes import until
from tests.faults.proxy import Proxy
from tests.faults.rig import SESSION_MS, Rig
from tests.fixtures.servers import Server

# The sink


async def kill_sink(rig: Rig, rng: Random) -> bool:
    """Kill the sink at a random moment."""
    sink = a_sink(rig, rng)
    return sink is not None and sink.process.send(KILL)


def kill_sink_at(step: str, passes: int | None = None) -> Injection:
    """Kill the sink at a step, the first time or after `passes`."""

    async def inject(rig: Rig, rng: Random) -> bool:
        sink, passed = a_sink(rig, rng), rng.randint(0, 3) if passes is None else passes
        return sink is not None and await sink.order(step, passed, KILL, STEP_S_MAX)

    return inject


async def freeze_sink(rig: Rig, rng: Random) -> bool:
    """Freeze the sink beyond its session, while another one takes over."""
    sink = a_sink(rig, rng)
    if sink is None:
        return False
    await sink.order(rng.choice(("before the insert", "before the commit")), rng.randint(0, 2), STOP, STEP_S_MAX)
    sink.process.send(STOP)  # if it has not come to that step
    try:
        other = await rig.add_sink()
        with contextlib.suppress(TimeoutError):
            await until(lambda: other.process.logged("sink ready"), "another sink to take over", TAKEN_OVER_S_MAX)
    finally:
        sink.process.send(CONTINUE)
    return True


# The servers


async def kill_broker(rig: Rig, rng: Random) -> bool:
    """Kill the broker and start it again."""
    await rig.servers.kill_and_restart(rig.broker, rng.uniform(0, 2))
    return True


def kill_broker_at_answer(api: int) -> Injection:
    """Kill the broker when it has stored a worker's write or commit and not answered it yet."""

    async def inject(rig: Rig, rng: Random) -> bool:
        worker = a_worker(rig, rng)
        if worker is None or not await caught(worker, api, on_request=False, action=rig.broker.kill, goes_on=False):
            return False
        await rig.servers.kill_and_restart(rig.broker, rng.uniform(0, 1))
        return True

    return inject


async def freeze_broker(rig: Rig, rng: Random) -> bool:
    """Let the broker keep its connections and answer nothing, for a moment or for longer than a session."""
    return await _frozen(rig, rig.broker, rng.choice((rng.uniform(0, 2), SESSION_MS / 1000 + 1)))


async def freeze_clickhouse(rig: Rig, rng: Random) -> bool:
    """Let ClickHouse keep its connections and answer nothing."""
    return await _frozen(rig, rig.servers.clickhouse, rng.uniform(0, 4))


async def _frozen(rig: Rig, server: Server, for_s: float) -> bool:
    if not rig.servers.is_up(server):
        return False
    server.pause()
    try:
        await asyncio.sleep(for_s)
    finally:
        server.resume()
    return True


async def kill_clickhouse(rig: Rig, rng: Random) -> bool:
    """Kill ClickHouse and start it again."""
    await rig.servers.kill_and_restart(rig.servers.clickhouse, rng.uniform(0, 2))
    return True


async def slow_clickhouse(rig: Rig, rng: Random) -> bool:
    """Make ClickHouse answer late."""
    await _delayed([sink.clickhouse for sink in rig.sinks if sink.clickhouse], rng.uniform(0.3, 1.0), rng.uniform(1, 4))
    return True


def spoil_answer(reply: bytes) -> Injection:
    """Answer an insert with an error, or with nothing, after ClickHouse has stored the block."""

    async def inject(rig: Rig, rng: Random) -> bool:
        sink = a_sink(rig, rng)
        if sink is None or sink.clickhouse is None:
            return False
        proxy, before = sink.clickhouse, sink.clickhouse.spoiled
        for _ in range(rng.randint(1, 3)):
            proxy.spoil_next_answer(reply)
        with contextlib.suppress(TimeoutError):
            await until(lambda: proxy.spoiled > before, "an insert", STEP_S_MAX)
        return proxy.spoiled > before

    return inject


# The network


async def delay_workers(rig: Rig, rng: Random) -> bool:
    """Delay what a worker and the broker say to each other."""
    worker = a_worker(rig, rng)
    if worker is not None:
        await _delayed([worker.kafka], rng.uniform(0.02, 0.4), rng.uniform(1, 4))
    return worker is not None


async def delay_sink(rig: Rig, rng: Random) -> bool:
    """Delay what the sink and the broker say to each other."""
    await _delayed([sink.kafka for sink in rig.sinks], rng.uniform(0.02, 0.4), rng.uniform(1, 4))
    return True


async def cut_worker(rig: Rig, rng: Random) -> bool:
    """Cut a worker off the broker, for a moment or for longer than its session."""
    worker = a_worker(rig, rng)
    if worker is not None:
        await _cut([worker.kafka], rng.choice((0.0, rng.uniform(0, 2), SESSION_MS / 1000 + 2)))
    return worker is not None


def cut_worker_at_answer(api: int) -> Injection:
    """Lose the broker's answer to a worker's write or commit, and the connection with it."""

    async def inject(rig: Rig, rng: Random) -> bool:
        worker = a_worker(rig, rng)
        return worker is not None and await caught(worker, api, on_request=False, action=_nothing, goes_on=False)

    return inject


def _nothing() -> None:
    """Do nothing."""


async def cut_sink(rig: Rig, rng: Random) -> bool:
    """Cut the sinks off the broker, for a moment or for longer than a session."""
    await _cut([sink.kafka for sink in rig.sinks], rng.choice((0.0, rng.uniform(0, 2), SESSION_MS / 1000 + 2)))
    return True


async def cut_clickhouse(rig: Rig, rng: Random) -> bool:
    """Cut the sinks off ClickHouse."""
    await _cut([sink.clickhouse for sink in rig.sinks if sink.clickhouse], rng.uniform(0, 3))
    return True


async def _delayed(proxies: list[Proxy], delay_s: float, for_s: float) -> None:
    for proxy in proxies:
        proxy.delay_s = delay_s
    try:
        await asyncio.sleep(for_s)
    finally:
        for proxy in proxies:
            proxy.delay_s = 0.0


async def _cut(proxies: list[Proxy], for_s: float) -> None:
    for proxy in proxies:
        proxy.down = True
        proxy.cut()
    try:
        await asyncio.sleep(for_s)
    finally:
        for proxy in proxies:
            proxy.down = False

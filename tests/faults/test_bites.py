"""The harness is held against the pipeline without its protections: each fault class must show as drift then."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tests.faults import faults_servers as servers
from tests.faults import faults_workers as workers
from tests.faults.aim import Injection
from tests.faults.processes import until
from tests.faults.proxy import PRODUCE, REFUSAL
from tests.faults.rig import Servers
from tests.faults.rounds import Options, Outcome, Round

EVENTS = 600
PATIENCE_S = 20.0
ATTEMPTS_MAX = 6
Script = Callable[[Round], Awaitable[None]]


async def kill_worker_after_outputs(current: Round) -> None:
    """Kill the worker when its lines are acknowledged and its states are not all."""
    await _order_worker(current, "after the outputs", signal.SIGKILL)


async def kill_worker_after_commit(current: Round) -> None:
    """Kill the worker when it has written everything and committed no position of its group."""
    await _order_worker(current, "after the commit", signal.SIGKILL)


async def freeze_worker_with_a_round_in_hand(current: Round) -> None:
    """Freeze a worker when it has rated records and written nothing of it; others do the same, then it goes on."""
    await _inject_while_feeding(current, workers.freeze_worker_at("after begin", passes=0))


async def hold_worker(current: Round) -> None:
    """Hold a worker's write on its way until others have done the same, then let it through."""
    await _inject_while_feeding(current, workers.hold_worker_at(PRODUCE))


async def hand_over(current: Round) -> None:
    """Stop the worker in order in the middle of the journal, with another one there."""
    await current.feeder.feed(0.5)
    await _inject_while_feeding(current, workers.remove_worker)


async def lose_answer(current: Round) -> None:
    """Lose the broker's answer to a write of lines that it has stored."""
    await _inject_while_feeding(current, servers.cut_worker_at_answer(PRODUCE))


async def kill_broker_after_write(current: Round) -> None:
    """Kill the broker when it has stored lines and not said so."""
    await _inject_while_feeding(current, servers.kill_broker_at_answer(PRODUCE))


async def kill_sink_after_insert(current: Round) -> None:
    """Kill the sink between insert and commit."""
    await _order_sink(current, "after the insert", signal.SIGKILL)


async def kill_sink_before_insert(current: Round) -> None:
    """Kill the sink when it is about to insert."""
    await _order_sink(current, "before the insert", signal.SIGKILL)


async def clickhouse_down(current: Round) -> None:
    """Kill ClickHouse, and start it again when the sink has noticed."""
    sink = current.rig.sinks[0].process
    current.rig.servers.clickhouse.kill()
    await current.feeder.feed()
    await until(lambda: sink.logged("ClickHouse is away"), "the sink to notice", PATIENCE_S)
    await current.rig.servers.clickhouse.started()


async def clickhouse_slow(current: Round) -> None:
    """Let ClickHouse's answers come later than the sink waits, until it has noticed."""
    sink = current.rig.sinks[0]
    assert sink.clickhouse is not None
    sink.clickhouse.delay_s = 1.0
    await current.feeder.feed()
    await until(lambda: sink.process.logged("ClickHouse is away"), "the sink to notice", PATIENCE_S)
    sink.clickhouse.delay_s = 0.0


async def clickhouse_answers_wrongly(current: Round) -> None:
    """Answer an insert with an error after ClickHouse has stored the block."""
    await _inject_while_feeding(current, servers.spoil_answer(REFUSAL))


async def clickhouse_cut_off(current: Round) -> None:
    """Cut the connection after ClickHouse has stored the block."""
    await _inject_while_feeding(current, servers.spoil_answer(b""))


async def _order_worker(current: Round, step: str, number: signal.Signals) -> None:
    reached = asyncio.create_task(current.rig.workers[0].order(step, 0, number, PATIENCE_S))
    await current.feeder.feed()
    assert await reached


async def _order_sink(current: Round, step: str, number: signal.Signals) -> None:
    reached = asyncio.create_task(current.rig.sinks[0].order(step, 0, number, PATIENCE_S))
    await current.feeder.feed()
    assert await reached


async def _inject_while_feeding(current: Round, injection: Injection) -> None:
    injected = asyncio.create_task(injection(current.rig, Random(current.outcome.seed)))
    await asyncio.sleep(0)
    await current.feeder.feed()
    if not await injected:
        current.outcome.missed.append("its moment did not come")


class Bite(NamedTuple):
    """A fault, the protection to leave out, and the drift that must show then."""

    script: Script
    without: str
    drift: str
    workers: int = 1
    final: bool = True


LINES, ROWS = "lines in Kafka: doubled", "rows of the table: doubled"
BITES = {
    "worker killed between effects": Bite(kill_worker_after_outputs, "transactions", LINES),
    "worker killed after its effects": Bite(kill_worker_after_commit, "positions", "dead letters: doubled"),
    "zombie": Bite(freeze_worker_with_a_round_in_hand, "fencing", LINES, 2),
    "network delay": Bite(hold_worker, "fencing", LINES, 2),
    "network cut": Bite(lose_answer, "idempotence", LINES),
    "worker removed": Bite(hand_over, "states", "lines in Kafka: doubled"),
    "broker killed": Bite(kill_broker_after_write, "idempotence", LINES),
    "sink killed between insert and commit": Bite(kill_sink_after_insert, "", ROWS, final=False),
    "sink killed before the insert": Bite(
        kill_sink_before_insert, "insert before commit", "lines in ClickHouse: missing"
    ),
    "ClickHouse down": Bite(clickhouse_down, "patience", "lines in ClickHouse: missing"),
    "ClickHouse slow": Bite(clickhouse_slow, "time", ROWS, final=False),
    "ClickHouse answers an error after it has stored": Bite(clickhouse_answers_wrongly, "", ROWS, final=False),
    "ClickHouse cut off after it has stored": Bite(clickhouse_cut_off, "", ROWS, final=False),
}


async def play(shared: Servers, folder: Path, bite: Bite, seed: int) -> Outcome:
    options = Options(EVENTS, bite.workers, feed_s=0.0, without=bite.without, final=bite.final)
    async with Round(shared, folder, seed, options) as current:
        await bite.script(current)
        return await current.finish()


@pytest.mark.parametrize("name", BITES)
def test_a_fault_without_its_protection_is_reported(
    name: str, embedded_servers: Servers, folder: Path, loop: asyncio.Runner
) -> None:
    """Each class of faults makes the harness report drift once the protection against it is left out.

    A fault does its harm only when the process had something in hand; so one that did none is played again.
    """
    bite, found = BITES[name], []

    for attempt in range(ATTEMPTS_MAX):
        outcome = loop.run(play(embedded_servers, folder, bite, 1000 + list(BITES).index(name) + 100 * attempt))
        found.append((outcome.drift, outcome.missed))
        if bite.drift in outcome.drift.counts:
            break

    assert bite.drift in outcome.drift.counts, found


ALL_FAULTS = (
    workers.kill_worker_at("after the outputs", passes=0),
    workers.kill_worker_at("after the commit", passes=0),
    workers.freeze_worker_at("after begin", passes=0),
    workers.hold_worker_at(PRODUCE),
    workers.remove_worker,
    servers.cut_worker_at_answer(PRODUCE),
    servers.kill_broker_at_answer(PRODUCE),
    servers.kill_sink_at("after the insert", passes=0),
    servers.kill_sink_at("before the insert", passes=0),
    servers.kill_clickhouse,
    servers.slow_clickhouse,
    servers.spoil_answer(REFUSAL),
    servers.spoil_answer(b""),
)


PARTS = 2 * len(ALL_FAULTS)


async def play_all_faults(shared: Servers, folder: Path) -> Outcome:
    """Inject every fault of the bites, one after the other, each while a part of the journal is fed.

    One that does not come to pass, as its worker had nothing to do, is tried again with the next part.
    """
    async with Round(shared, folder, 1100, Options(EVENTS * 2, workers=1, feed_s=0.0)) as current:
        waiting = list(ALL_FAULTS)
        for part in range(1, PARTS + 1):
            injected = asyncio.create_task(waiting[0](current.rig, Random(part)))
            await asyncio.sleep(0)
            await current.feeder.feed(part / PARTS)
            if await injected:
                waiting.pop(0)
            await current.rig.ready()
            if not waiting:
                break
        await current.feeder.feed()
        assert not waiting, len(waiting)
        return await current.finish()


def test_the_same_faults_with_all_protections_leave_no_drift(
    embedded_servers: Servers, folder: Path, loop: asyncio.Runner
) -> None:
    """With nothing left out, the very same faults, all in one round, change nothing of what comes out."""
    outcome = loop.run(play_all_faults(embedded_servers, folder))

    assert not outcome.drift, outcome

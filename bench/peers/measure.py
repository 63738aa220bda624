"""One run of one peer on a fresh broker: from the outside, between two moments in the middle of the input."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiokafka import ConsumerRecord

from bench.peers.environments import ROOT
from bench.peers.events import Expected, Message
from bench.peers.processes import Process
from bench.peers.roster import PROGRAMS, Peer
from bench.peers.topics import Output, charges_in, create_topics, fill, output_of
from tests.fixtures.brokers import broker_of_kind

END = 0.95
"""The share of the input at which the measuring ends, so that what a peer does when it runs dry does not count."""
POLL_S = 0.02
STALL_S_MAX = 60


class RunError(Exception):
    """A peer did not do its work; the message says how far it came, and what it printed."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What was done and used at a moment."""

    done: int
    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """What a run took for an event of the input."""

    cpu_us: float
    wall_us: float
    events: int
    """Events between the two moments."""


@dataclass(frozen=True, slots=True)
class Load:
    """An input and what must come out."""

    messages: list[Message]
    expected: Expected


async def run(peer: Peer, load: Load, broker: str, partitions: int, commit_s: float, folder: Path) -> Run:
    """Measure once. Raises RunError, and EnvironmentMissingError when the peer cannot be had here."""
    catalog = folder.parent / "catalog.yaml"
    assert peer.command is not None
    *before, command = peer.command(folder, catalog)
    server = await broker_of_kind(broker, folder / "broker").started()
    try:
        await create_topics(server.address, partitions)
        await fill(server.address, peer.topic, partitions, load.messages)
        environment = _environment(peer, server.address, partitions, commit_s, folder) | dict(peer.variables)
        for each in before:
            done = await asyncio.create_subprocess_exec(*each, stdout=sys.stderr)
            assert await done.wait() == 0, each
        process = Process(command, environment, folder / "peer.log")
        try:
            async with output_of(server.address, peer.output, partitions) as output:
                return await _watch(peer, load.expected, process, output)
        finally:
            process.kill()
    finally:
        server.stop()


def _environment(peer: Peer, address: str, partitions: int, commit_s: float, folder: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": f"{PROGRAMS}:{ROOT}",
        "BENCH_BROKER": address,
        "BENCH_PARTITIONS": str(partitions),
        "BENCH_PER_MESSAGE": str(peer.per_message),
        "BENCH_COMMIT_S": str(commit_s),
        "BYTEWAX_SNAPSHOT_INTERVAL": str(round(commit_s)),
        "BENCH_FOLDER": str(folder / "state"),
        "USAGE_KAFKA": address,
        "USAGE_WORKER_COMMIT_MS": str(round(commit_s * 1000)),
    }


async def _watch(peer: Peer, expected: Expected, process: Process, output: Output) -> Run:
    total = expected.events if peer.progress == "printed" else expected.rated
    records: list[ConsumerRecord] = []
    count = _counter(peer, process, output, records)
    begin = await _reach(count, process, peer.warm * total)
    end = await _reach(count, process, END * total)
    await _reach(count, process, total)
    if peer.progress != "printed":
        await _check(expected, output, records)
    events = (end.done - begin.done) / total * expected.events
    return Run((end.cpu_s - begin.cpu_s) / events * 1e6, (end.wall_s - begin.wall_s) / events * 1e6, round(events))


async def _check(expected: Expected, output: Output, records: list[ConsumerRecord]) -> None:
    """Hold number and sum of the rated events against what is expected. Raises RunError."""
    charges = [charge for record in records for charge in charges_in(record)]
    deadline = time.monotonic() + STALL_S_MAX
    while (more := await output.fetched(wait_ms=200)) or (
        len(charges) < expected.rated and time.monotonic() < deadline
    ):
        charges.extend(charge for record in more for charge in charges_in(record))
    if (len(charges), sum(charges)) != (expected.rated, expected.charge_pico):
        raise RunError(f"{len(charges)} rated events of {sum(charges)} picodollars, not {expected}")


def _counter(
    peer: Peer, process: Process, output: Output, records: list[ConsumerRecord]
) -> Callable[[], Awaitable[int]]:
    """Return what tells how many events are done; records of lines are read for that, and kept in `records`."""
    counted: int = 0

    async def lines() -> int:
        nonlocal counted
        fetched = await output.fetched()
        records.extend(fetched)
        counted += sum(int(record.value.count(b"\n")) + 1 for record in fetched)
        return counted

    async def printed() -> int:
        words = process.log.read_text().split()
        return int(words[-1]) if words else 0

    return {"lines": lines, "printed": printed, "records": output.records}[peer.progress]


def decode_only(decode: Callable[[bytes], object], load: Load) -> Run:
    """Measure a decode of an input's messages in this process, without Kafka."""
    values = [message.value for message in load.messages]
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for value in values:
        decode(value)
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    return Run(cpu_s / load.expected.events * 1e6, wall_s / load.expected.events * 1e6, load.expected.events)


async def _reach(count: Callable[[], Awaitable[int]], process: Process, wanted: float) -> Mark:
    """Wait until so many events are done."""
    before, moved_s = -1, time.monotonic()
    while (done := await count()) < wanted:
        if done != before:
            before, moved_s = done, time.monotonic()
        if process.ended() or time.monotonic() - moved_s > STALL_S_MAX:
            state = "ended" if process.ended() else f"stood still for {STALL_S_MAX} s"
            raise RunError(f"{state} at {done} of {wanted:.0f}: {process.tail()}")
        await asyncio.sleep(POLL_S)
    return Mark(done, process.cpu_s(), time.monotonic())

"""Quota: how fast `check` answers, and how long it takes from an event until another process denies the next call.

Checks are timed one by one in a loop, with nothing else to do, and while a record of the customer comes every 20 ms: the
background thread decides anew what was asked for, and takes the interpreter for that.

For the delay, each probe is a customer whose plan includes one unit. A gate in a process of its own is asked until it
denies; an event uses the unit. On the way are seen: Kafka's acknowledgement (ack); the timestamp of the quota record, which
the worker gives it when it writes (rated: fetch, wait for grants, pace of rounds, rating); the record read uncommitted
(written), and committed (committed); and the gate's denial (denied). Each column is what its step adds.
"""

import argparse
import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.load import SHAPES, make_records, partition_of
from bench.machine import describe
from bench.processes import (
    broker_with_topics,
    brokers_at_hand,
    cpu_s,
    pid_of,
    produce,
    running,
    scratch_folder,
)
from bench.quota_children import BUNDLE, LOAD, PROBE
from bench.report import keep, percentile, progress, run_main, table
from bench.watch import Backlog, samples_of
from pipeline.catalog import load_catalog
from pipeline.codec.catalog_view import encode_view
from pipeline.domain.catalog import Catalog
from pipeline.domain.instants import format_instant
from pipeline.domain.records import EVENTS_TOPIC, QUOTA_TOPIC
from pipeline.quota.board import Board
from pipeline.quota.book import AnswerBook
from pipeline.rating.ledger import Ledger
from pipeline.sdk.gate import QuotaGate
from pipeline.settings import Settings

PARTITIONS = 4
PROBES_MAX = 2_000
GAP_S_MAX = 0.05
"""Between probes, at random, so that they do not fall into step with the rounds."""
RECORD_EVERY_S = 0.02
KEYS = 16
BACKLOG_EVENTS = 300_000
LOAD_S = 40
"""So long the load lasts, and probes are sent under it."""
STEPS = ("ack", "rated", "written", "committed", "denied", "whole")


class Case(NamedTuple):
    """Under what circumstances delays are measured."""

    name: str
    load: float = 0.0
    """Beside the probes, as a share of what the worker does when a backlog lies before it."""
    settings: dict[str, int] = {}  # noqa: RUF012 - nobody changes it


CASES = (
    Case("idle"),
    Case("an eighth of full load", load=1 / 8),
    Case("half load", load=1 / 2),
    Case("idle, no wait for grants", settings={"merge_wait_ms": 0}),
    Case("idle, no waits", settings={"merge_wait_ms": 0, "worker_round_ms_min": 0}),
)


class _Feed:
    """A source that brings a record every so often, or one only."""

    fault = None

    def __init__(self, board: Board, book: AnswerBook, customer: str, values: Sequence[bytes], every_s: float) -> None:
        self._board, self._book = board, book
        self._customer, self._values, self._every_s = customer, values, every_s

    async def run(self) -> None:
        """Bring records for ever."""
        number = 0
        while True:
            if number == 0 or self._every_s:
                self._board.put(self._customer, self._values[number % len(self._values)])
                number += 1
            self._board.read_at(time.monotonic())
            self._book.wake()
            await asyncio.sleep(self._every_s or RECORD_EVERY_S)


def _records_of_one(events: int = 50) -> tuple[Catalog, list[bytes]]:
    """Return a catalog and the quota records of its one customer after each of some events."""
    shape = SHAPES["one"]
    catalog = shape.catalog()
    ledger = Ledger(catalog)
    values = []
    for record in make_records(shape, events, 1, start_ms=time.time_ns() // 1_000_000):
        ledger.rate(record)
        values += [value for _, value in ledger.take_effects().quotas]
    return catalog, values


def _asked(number: int) -> dict[str, Any]:
    """Return one of the questions that are asked again and again."""
    return {
        "workspace": ("legal", "finance", "support", "sales")[number % 4],
        "feature": "document-summary",
        "model": ("gpt-5-mini", "claude-opus-4-5")[number // 4 % 2],
        "unit": ("document", "page")[number // 8 % 2],
    }


def measure_checks(count: int) -> list[dict[str, Any]]:
    """Return how long a check takes, by case."""
    catalog, values = _records_of_one()
    (customer,) = catalog.customers
    deployment = next(iter(catalog.deployments))
    again = [_asked(number) for number in range(KEYS)]
    found = []
    for name, every_s, fields in (
        ("asked before", 0.0, lambda number: again[number % KEYS]),
        ("asked before, a record every 20 ms", RECORD_EVERY_S, lambda number: again[number % KEYS]),
        ("never asked before", 0.0, lambda number: again[0] | {"input_tokens": number}),
    ):
        feed = _feeding(customer, values, every_s)
        with QuotaGate(feed, customer, deployment=deployment, environment="production") as gate:
            gate.wait_ready()
            _time(gate, fields, KEYS * 4)
            took_ns = _time(gate, fields, count if "never" not in name else count // 10)
        found.append(
            {"case": name, "checks": len(took_ns)}
            | {f"p{share:g}_us": round(percentile(took_ns, share) / 1000, 2) for share in (50, 99, 99.9)}
            | {"max_us": round(max(took_ns) / 1000, 1)}
        )
    return found


def _feeding(customer: str, values: Sequence[bytes], every_s: float) -> Callable[[Board, AnswerBook], _Feed]:
    def make(board: Board, book: AnswerBook) -> _Feed:
        book.use(_records_of_one(1)[0])
        return _Feed(board, book, customer, values, every_s)

    return make


def _time(gate: QuotaGate, fields: Callable[[int], dict[str, Any]], count: int) -> list[int]:
    took_ns = []
    for number in range(count):
        asked = fields(number)
        began_ns = time.perf_counter_ns()
        answer = gate.check(**asked)
        took_ns.append(time.perf_counter_ns() - began_ns)
        assert not answer.stale
    return took_ns


def write_catalog(folder: Path) -> Path:
    """Write a catalog for load and probes, and return its folder."""
    folder.mkdir()
    SHAPES[LOAD].write_catalog(folder / "load.yaml")
    names = [_probe(number) for number in range(PROBES_MAX)]
    rows = [
        "apps: [{id: probes, builder: northwind}]",
        "plans:",
        "  - {id: probes, version: 1, app: probes, overage: {default: block}, allowances: [{id: one, included: 1}]}",
        "customers:",
        *[f"  - {{id: {name}}}" for name in names],
        "deployments:",
        *[f"  - {{id: dep_{name}, customer: {name}, app: probes}}" for name in names],
        "subscriptions:",
        *[f"  - {{customer: {name}, plan: probes, version: 1, start: 2023-01-01}}" for name in names],
    ]
    (folder / "probes.yaml").write_text("\n".join(rows) + "\n")
    return folder


def _probe(number: int) -> str:
    return f"probe-{number:04d}"


class Sights:
    """When quota records were seen, by customer."""

    def __init__(self) -> None:
        self._seen: dict[str, asyncio.Future[tuple[float, float]]] = {}

    def expect(self, customer: str) -> "asyncio.Future[tuple[float, float]]":
        """Return what is told when a record of a customer came, in monotonic time, and its timestamp in seconds."""
        return self._seen.setdefault(customer, asyncio.get_running_loop().create_future())

    async def follow(self, settings: Settings, isolation: str) -> None:
        """Read records for ever."""
        consumer = AIOKafkaConsumer(
            QUOTA_TOPIC, bootstrap_servers=settings.kafka, isolation_level=isolation, auto_offset_reset="latest"
        )
        await consumer.start()
        try:
            async for record in consumer:
                future = self._seen.get((record.key or b"").decode())
                if future is not None and not future.done():
                    future.set_result((time.monotonic(), record.timestamp / 1000))
        finally:
            await consumer.stop()


class Prober:
    """Sends probes, one after the other, and takes the times on their way."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, gate: asyncio.subprocess.Process) -> None:
        self._settings, self._producer, self._gate = settings, producer, gate
        self._written, self._committed = Sights(), Sights()
        self.numbers = iter(range(PROBES_MAX))

    async def follow(self) -> None:
        """Watch the records."""
        await asyncio.gather(
            self._written.follow(self._settings, "read_uncommitted"),
            self._committed.follow(self._settings, "read_committed"),
        )

    async def probe(self) -> dict[str, float]:
        """Return what each step took, in milliseconds."""
        customer = _probe(next(self.numbers))
        written, committed = self._written.expect(customer), self._committed.expect(customer)
        await _say(self._gate, customer)
        assert await _heard(self._gate) == "watching"
        wall_s, sent_s = time.time(), time.monotonic()
        await self._producer.send_and_wait(
            EVENTS_TOPIC,
            _event(customer, wall_s),
            key=customer.encode(),
            partition=partition_of(customer.encode(), self._settings.partitions),
        )
        acked_s = time.monotonic()
        denied_s = float(await _heard(self._gate))
        (written_s, stamp_s), (committed_s, _) = await asyncio.gather(written, committed)
        rated_s = sent_s + max(0.0, stamp_s + 0.0005 - wall_s)  # a timestamp has milliseconds
        marks = (sent_s, acked_s, rated_s, written_s, committed_s, denied_s)
        steps = dict(zip(STEPS, [(b - a) * 1000 for a, b in itertools.pairwise(marks)], strict=False))
        return steps | {"whole": (denied_s - sent_s) * 1000}


def _event(customer: str, wall_s: float) -> bytes:
    event = {
        "specversion": "1.0",
        "type": "ai.usage.v1",
        "id": "probe",
        "source": f"dep_{customer}",
        "subject": customer,
        "time": format_instant(int(wall_s * 1e6)),
        "data": PROBE,
    }
    return json.dumps(event).encode()


async def _say(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{text}\n".encode())
    await process.stdin.drain()


async def _heard(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 90)).decode().strip()
    if not line:
        raise RuntimeError("a process of bench.quota_children has ended")
    return line


@asynccontextmanager
async def child(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process of bench.quota_children while the block runs, and wait until it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.quota_children",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert await _heard(process) in ("ready", "made")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def measure_delays(broker: str, case: Case, catalog: Path, view: Path, probes: int) -> dict[str, Any]:
    """Return the delays of probes through a fresh broker and one worker."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        server, settings = await stack.enter_async_context(
            broker_with_topics(broker, folder, partitions=PARTITIONS, catalog=catalog, **case.settings)
        )
        records = list(make_records(SHAPES[LOAD], BACKLOG_EVENTS if case.load else 0, BUNDLE, seed=2))
        ends = Backlog(EVENTS_TOPIC, await produce(settings, records), lambda _, offset: offset * BUNDLE)
        worker = stack.enter_context(running("worker", settings, folder))
        await worker.ready()
        pids = {"worker": worker.pid, "broker": pid_of(server)}
        rate = 0.0
        load = None
        if case.load:
            samples = [each async for each in samples_of(settings, settings.worker_group, ends, pids, worker.check)]
            rate = (samples[-1].done - samples[0].done) / (samples[-1].at_s - samples[0].at_s) * case.load
            load = await stack.enter_async_context(
                child("load", settings.kafka, str(PARTITIONS), str(rate), str(LOAD_S))
            )
            await _say(load, "go")
        gate = await stack.enter_async_context(child("gate", settings.kafka, str(view)))
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, acks="all")
        await producer.start()
        stack.push_async_callback(producer.stop)
        prober = Prober(settings, producer, gate)
        following = asyncio.create_task(prober.follow())
        stack.callback(following.cancel)
        await asyncio.sleep(2)
        for _ in range(5):
            await prober.probe()
        found = []
        before_s, used_s = time.monotonic(), {name: cpu_s(pid) for name, pid in pids.items()}
        while len(found) < probes and (load is None or load.returncode is None):
            found.append(await prober.probe())
            await asyncio.sleep(random.uniform(0, GAP_S_MAX))
        cores = {
            name: round((cpu_s(pid) - used_s[name]) / (time.monotonic() - before_s), 2) for name, pid in pids.items()
        }
    about = {"broker": broker, "case": case.name, "probes": len(found), "events_per_s": round(rate), "cores": cores}
    return about | {
        step: {f"p{share}_ms": round(percentile([each[step] for each in found], share), 1) for share in (50, 99)}
        for step in STEPS
    }


def delays_of(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure every case that is asked for."""
    with scratch_folder() as folder:
        catalog = write_catalog(folder / "catalog")
        view = folder / "view.json"
        view.write_bytes(encode_view(load_catalog(catalog), [_probe(number) for number in range(PROBES_MAX)]))
        for broker in arguments.brokers:
            for case in CASES:
                if case.name in arguments.cases:
                    progress(f"quota: {case.name}, {broker}")
                    yield asyncio.run(measure_delays(broker, case, catalog, view, arguments.probes))


def main() -> None:
    """Measure and print tables, and write them as JSON to bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=300_000)
    parser.add_argument("--probes", type=int, default=300, help="events whose delay is taken, each case")
    parser.add_argument("--brokers", nargs="+", choices=("embedded", "apache"), default=brokers_at_hand())
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], default=[c.name for c in CASES])
    arguments = parser.parse_args()
    checks = measure_checks(arguments.checks)
    delays = list(delays_of(arguments))
    print(describe())
    print("quota: one check in memory, us\n")
    shares = ("p50_us", "p99_us", "p99.9_us", "max_us")
    print(
        table(
            ("case", "checks", *shares),
            [(row["case"], row["checks"], *[row[each] for each in shares]) for row in checks],
        )
    )
    print("\nquota: from event produced to check() denying in another process, ms, p50 / p99; each column is a step\n")
    cells = [
        (
            f"{row['broker']}, {row['case']}",
            row["probes"],
            f"{row['events_per_s']:,}",
            f"{row['cores']['worker']:g} + {row['cores']['broker']:g}",
            *[f"{row[step]['p50_ms']:g} / {row[step]['p99_ms']:g}" for step in STEPS],
        )
        for row in delays
    ]
    print(table(("case", "probes", "events/s beside", "cores: worker + broker", *STEPS), cells))
    keep("quota", {"checks": checks, "delays": delays})


if __name__ == "__main__":
    run_main(main)

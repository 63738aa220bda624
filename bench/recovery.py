"""Recovery: how long a worker takes from its start to the first line, and how long partitions pause when workers change.

Fills the changelog with the states of many customers (made by rating a few for real, and renaming them), then starts
workers as processes while a probe sends an event to each partition all the time. A pause is the longest time in which
a partition gave no line, measured where lines arrive.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.load import SHAPES, START_MS, make_records
from bench.machine import describe
from bench.report import keep, run_main
from pipeline.codec.states import Positions, join_key, split_key
from pipeline.domain.catalog import Catalog
from pipeline.domain.records import EVENTS_TOPIC, LINES_TOPIC, Record
from pipeline.observe.counters import Counters
from pipeline.rating.ledger import ChangedState, Effects, Ledger
from pipeline.settings import Settings, load_settings
from pipeline.settings.clients import consumer_arguments, kafka_arguments
from pipeline.stream.effects import PartitionWriter
from pipeline.stream.topics import ensure_topics
from tests.fixtures.brokers import broker_of_kind

SHAPE = replace(SHAPES["zipf"], customers=8, pick="uniform")
CUSTOMERS_A_WRITE = 2000
PROBE_S = 0.02
QUIET_S = 3.0
"""After a change, how long every partition must give lines again before the pause is read off."""


def make_templates(catalog: Catalog, identities: int) -> list[dict[bytes, bytes]]:
    """Return the states of a few customers after `identities` events, as parts of the changelog by what they are."""
    templates = []
    for record in make_records(SHAPE, identities * SHAPE.customers, identities):
        ledger = Ledger(catalog)
        parts: dict[bytes, bytes] = {}
        ledger.rate(record)
        for changed in ledger.take_effects().states:
            parts |= {split_key(key)[1]: value for key, value in changed.records if value is not None}
        templates.append(parts)
    return templates


async def fill(settings: Settings, templates: list[dict[bytes, bytes]], customers: int, times: int) -> tuple[int, int]:
    """Write the states of many customers `times` times over; return how many records and bytes the changelog then has."""
    records = size = 0
    for partition in range(settings.partitions):
        writer = PartitionWriter(settings, Counters(), partition)
        await writer.start()
        for _ in range(times):
            for begin in range(partition, customers, CUSTOMERS_A_WRITE * settings.partitions):
                numbers = range(
                    begin, min(customers, begin + CUSTOMERS_A_WRITE * settings.partitions), settings.partitions
                )
                states = [_renamed(templates[number % len(templates)], f"customer-{number:07d}") for number in numbers]
                await writer.write(Effects([], [], [], states, [], 0, 0), Positions(0, 0))
                records += sum(len(state.records) for state in states)
                size += sum(len(key) + len(value or b"") for state in states for key, value in state.records)
        await writer.stop()
    return records, size


def _renamed(parts: dict[bytes, bytes], customer: str) -> ChangedState:
    return ChangedState(customer, [(join_key(customer.encode(), part), value) for part, value in parts.items()])


class Probe:
    """Sends an event to each partition all the time, and notes when lines arrive."""

    def __init__(self, settings: Settings, records: list[Record]) -> None:
        self._settings = settings
        self._records = records
        self.arrivals: dict[int, list[float]] = {partition: [] for partition in range(settings.partitions)}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Probe"]:
        """Send and listen while the block runs."""
        producer = AIOKafkaProducer(**kafka_arguments(self._settings))
        consumer = AIOKafkaConsumer(LINES_TOPIC, **consumer_arguments(self._settings))
        await producer.start()
        await consumer.start()
        tasks = [asyncio.create_task(self._send(producer)), asyncio.create_task(self._listen(consumer))]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await producer.stop()
            await consumer.stop()

    async def _send(self, producer: AIOKafkaProducer) -> None:
        for number, record in enumerate(self._records):
            await producer.send(
                EVENTS_TOPIC,
                record.value,
                key=record.key,
                partition=number % self._settings.partitions,
                timestamp_ms=START_MS + number,
            )
            await asyncio.sleep(PROBE_S / self._settings.partitions)

    async def _listen(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            self.arrivals[record.partition].append(time.monotonic())

    async def steady_since(self, began_s: float) -> dict[int, float]:
        """Wait until every partition gives lines again; return each one's longest pause since `began_s`."""
        while True:
            now = time.monotonic()
            marks = [[began_s, *(at for at in arrived if at > began_s)] for arrived in self.arrivals.values()]
            if now - began_s > QUIET_S and all(len(each) > 1 and now - each[-1] < 10 * PROBE_S for each in marks):
                last_gaps = [max(b - a for a, b in itertools.pairwise(each)) for each in marks]
                if all(sum(at > now - QUIET_S / 2 for at in each) > 5 for each in marks):
                    return dict(enumerate(last_gaps))
            await asyncio.sleep(0.05)


class Worker:
    """A worker process and its log."""

    def __init__(self, settings: Settings, catalog: Path, log: Path, name: str) -> None:
        command = [sys.executable, "-m", "pipeline", "worker", "--kafka", settings.kafka, "--catalog", str(catalog)]
        self._log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=out, env=os.environ | {"USAGE_WORKER_NAME": name}
            )

    async def ready(self, times: int = 1) -> None:
        """Wait until it has its partitions and their states."""
        while self._log.read_text().count("worker ready") < times:
            if self.process.poll() is not None:
                raise RuntimeError(self._log.read_text())
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Stop it in order."""
        self.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.wait, 30)

    def cpu_s(self) -> float:
        """Return the CPU time that it has used so far, user and system, all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()


async def measure(settings: Settings, probe: Probe, folder: Path) -> dict[str, Any]:
    """Start, restart, add and remove workers; return seconds, and pauses by partition."""
    found: dict[str, Any] = {}
    workers: list[Worker] = []

    def start(log: str, name: str) -> Worker:
        workers.append(Worker(settings, folder / "catalog.yaml", folder / log, name))
        return workers[-1]

    try:
        began = time.monotonic()
        await start("first.log", "first").ready()
        found["cpu_s"] = workers[0].cpu_s()
        found["start to lines of every partition"] = await _after(began, probe)
        began = time.monotonic()
        await start("second.log", "second").ready()
        found["a second worker is added"] = await _after(began, probe)
        began = time.monotonic()
        await workers[1].stop()
        found["it is stopped"] = await _after(began, probe)
        began = time.monotonic()
        await workers[0].stop()
        await start("again.log", "first").ready()
        found["planned restart of the only worker"] = await _after(began, probe)
    finally:
        for each in workers:
            each.kill()
    return found


async def _after(began: float, probe: Probe) -> dict[str, Any]:
    pauses = await asyncio.wait_for(probe.steady_since(began), 300)
    return {"worst": round(max(pauses.values()), 2), "by_partition": {of: round(s, 2) for of, s in pauses.items()}}


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fill a fresh broker, measure, and return what was found."""
    templates = make_templates(SHAPE.catalog(), arguments.identities)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = await broker_of_kind(arguments.broker, folder / "broker").started()
        try:
            settings = load_settings(kafka=server.address, partitions=arguments.partitions)
            await ensure_topics(settings)
            records, size = await fill(settings, templates, arguments.customers, arguments.times)
            SHAPE.write_catalog(folder / "catalog.yaml")
            probes = list(make_records(SHAPE, 100_000, 1))
            async with Probe(settings, probes).running() as probe:
                pauses = await measure(settings, probe, folder)
            logs = "".join((folder / f"{each}.log").read_text() for each in ("first", "second", "again"))
        finally:
            server.stop()
    recovered = [line.split("recovery ", 1)[-1] for line in logs.splitlines() if "state records in" in line]
    cpu_s = pauses.pop("cpu_s")
    state = {"customers": arguments.customers, "identities": arguments.customers * arguments.identities}
    changelog = {"records": records, "bytes": size, "times_written": arguments.times}
    return {"state": state, "changelog": changelog, "cpu_s": cpu_s, "pauses_s": pauses, "recoveries": recovered}


def main() -> None:
    """Measure and print, and write it as JSON to bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--identities", type=int, default=25, help="remembered events a customer")
    parser.add_argument(
        "--times", type=int, default=1, help="how often each state was written before, the age of the log"
    )
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--broker", choices=("embedded", "apache"), default="embedded")
    arguments = parser.parse_args()
    found = asyncio.run(run(arguments))
    state, changelog = found["state"], found["changelog"]
    print(describe())
    print(
        f"{arguments.broker} broker, {state['customers']:,} customers, {state['identities']:,} remembered identities, "
        f"{changelog['records']:,} changelog records, {changelog['bytes'] / 2**20:,.0f} MiB\n"
    )
    print(f"{'pause of a partition, seconds':<42} worst   by partition")
    for what, pauses in found["pauses_s"].items():
        print(f"{what:<42} {pauses['worst']:>5}   {list(pauses['by_partition'].values())}")
    print(f"CPU time of the first worker from its start until ready: {found['cpu_s']:.1f} s")
    print("\nworkers' logs:", *found["recoveries"], sep="\n  ")
    keep("recovery", found)


if __name__ == "__main__":
    run_main(main)

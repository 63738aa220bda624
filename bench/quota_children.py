"""The processes that bench.quota starts: a gate that is asked until it denies, and a load for the worker.

`gate KAFKA VIEW` answers each line of standard input, a customer, with "watching" and then, once `check` denies, with the
monotonic time. `load KAFKA PARTITIONS RATE SECONDS` says "made" and sends so many events a second from the first line on.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from bench.load import SHAPES, make_records, partition_of
from pipeline.domain.records import EVENTS_TOPIC
from pipeline.sdk.gate import QuotaGate

POLL_S = 0.0002
"""How long the gate's process sleeps between two checks: it must leave the processor to the others."""
SEEN_S_MAX = 30.0
BUNDLE = 20
LOAD = "mixed"
PROBE: dict[str, Any] = {
    "environment": "production",
    "workspace": "legal",
    "feature": "probing",
    "model": "gpt-5-mini",
    "unit": "probe",
}


def watch(kafka: str, view: Path) -> None:
    """Follow the quota of probes and say when each is denied."""
    with QuotaGate.kafka(kafka, catalog_view=view.read_bytes()) as gate:
        print("ready" if gate.wait_ready(60) else "not ready", flush=True)
        for line in sys.stdin:
            customer = line.strip()
            asked = PROBE | {"customer": customer, "deployment": f"dep_{customer}"}
            assert gate.check(**asked).allowed, customer
            print("watching", flush=True)
            deadline_s = time.monotonic() + SEEN_S_MAX
            while gate.check(**asked) and time.monotonic() < deadline_s:
                time.sleep(POLL_S)
            print(time.monotonic(), flush=True)


async def load(kafka: str, partitions: int, events_per_s: float, seconds: float) -> None:
    """Send events at a pace."""
    shape = SHAPES[LOAD]
    records = list(make_records(shape, int(events_per_s * seconds), BUNDLE))
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_batch_size=1 << 20)
    await producer.start()
    print("made", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began_s = time.monotonic()
    try:
        for number, record in enumerate(records):
            ahead_s = began_s + number * BUNDLE / events_per_s - time.monotonic()
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            await producer.send(
                EVENTS_TOPIC,
                record.value,
                key=record.key,
                partition=partition_of(record.key or b"", partitions),
                timestamp_ms=record.timestamp_ms,
            )
    finally:
        await producer.stop()


if __name__ == "__main__":
    if sys.argv[1] == "gate":
        watch(sys.argv[2], Path(sys.argv[3]))
    else:
        asyncio.run(load(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])))

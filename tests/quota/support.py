"""Quota records of a customer who may use three documents, and the means to write them to Kafka."""

import time
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer

from pipeline.codec.quota import encode_quota
from pipeline.domain.catalog import Allowance
from pipeline.domain.instants import format_instant
from pipeline.domain.quota import QuotaRecord, quota_record
from pipeline.domain.records import QUOTA_TOPIC
from tests.domain.world import World

ASKED: Any = {
    "deployment": "dep",
    "environment": "production",
    "workspace": "legal",
    "feature": "contract-extraction",
    "model": "small",
    "unit": "document",
}


def small_world(**changes: Any) -> World:
    """Return a world whose plan includes three documents and no more."""
    return World(**{"allowances": (Allowance("docs", 3),), "overage": {"default": "block"}} | changes)


def now_text() -> str:
    return format_instant(time.time_ns() // 1000)


def record_of(world: World, used: int = 0) -> QuotaRecord:
    """Return the record after so many more documents are used now."""
    if used:
        world.line(quantity=used, time=now_text())
    world.state.events_applied += 1
    return quota_record(world.state, world.terms)


def value_of(world: World, used: int = 0) -> bytes:
    return encode_quota(record_of(world, used))


async def write(
    kafka: str, records: Sequence[tuple[str, bytes | None]], transaction: str | None = None, *, abort: bool = False
) -> None:
    """Write records to `usage.quota`, in one transaction if it has a name."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", transactional_id=transaction)
    await producer.start()
    try:
        if transaction is not None:
            await producer.begin_transaction()
        for customer, value in records:
            await producer.send_and_wait(QUOTA_TOPIC, value, key=customer.encode())
        if transaction is not None:
            await (producer.abort_transaction() if abort else producer.commit_transaction())
    finally:
        await producer.stop()

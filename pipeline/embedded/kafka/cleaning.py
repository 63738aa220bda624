"""Compact or shorten a partition's log while it is being written and read.

What was there when cleaning began, up to the last stable offset, is written to a second file: in small steps, so that
requests are answered in between. Then what came since is copied after it, and the files change places.

Compaction takes away every record that a later one with its key replaces, tombstones that are old, and what belongs to
an aborted transaction. A batch that keeps some of its records keeps its offsets, producer and sequence; one without
records goes, unless it is the newest of a producer that was there in the last day (so that its sequence numbers go on
after a restart too). A marker goes when nothing of its transaction is left before it. The newest batch of the log always
stays, so that offsets go on. Records without a key stay.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from pipeline.embedded.kafka.batches import Batch, UnreadableError, records_of
from pipeline.embedded.kafka.index import AbortedReading
from pipeline.embedded.kafka.log import PartitionLog
from pipeline.embedded.kafka.replacement import with_records

_DAY_MS = 24 * 3600 * 1000
_WORK_SECONDS_MAX = 0.002
"""How long cleaning holds the event loop before it lets requests through for as long."""


async def clean(log: PartitionLog, configs: Mapping[str, str]) -> None:
    """Apply `cleanup.policy`, `delete.retention.ms` and `retention.ms` of its topic to a log."""
    policy = {word.strip() for word in configs.get("cleanup.policy", "delete").split(",")}
    now_ms = time.time_ns() // 1_000_000
    if "compact" in policy:
        tombstones_from_ms = now_ms - int(configs.get("delete.retention.ms", _DAY_MS))
        await _compact(log, now_ms - _DAY_MS, tombstones_from_ms)
    retention_ms = int(configs.get("retention.ms", "-1"))
    if "delete" in policy and retention_ms >= 0:
        await _shorten(log, now_ms - retention_ms)


class _Stored(NamedTuple):
    """One batch as it lies in the file."""

    batch: Batch
    raw: bytes
    appended_ms: int
    """It was appended then or later: the latest time of all batches up to it."""
    aborted: bool
    """Whether it is data of a transaction that was aborted."""


class _Newest(NamedTuple):
    """What the first reading finds out."""

    of_key: dict[bytes, int]
    """The offset of each key's newest record."""
    data_of_producer: dict[int, int]
    """The offset of the newest batch of each producer of the last day."""
    marker_of_producer: dict[int, int]


async def _compact(log: PartitionLog, producers_from_ms: int, tombstones_from_ms: int) -> None:
    end = log.cleanable_bytes()
    newest = await _find_newest(log, end, producers_from_ms)
    replacement = log.begin_replacement()
    try:
        left_of_producer: set[int] = set()  # who has data in the replacement that no marker follows yet
        async for stored in _stored(log, end):
            batch = stored.batch
            if batch.is_control:
                is_newest = newest.marker_of_producer.get(batch.producer_id) == batch.base_offset
                if is_newest or batch.producer_id in left_of_producer:
                    replacement.add(stored.raw)
                left_of_producer.discard(batch.producer_id)
                continue
            kept = _kept_of(stored, newest, tombstones_from_ms)
            if kept is not None:
                replacement.add(kept)
                left_of_producer.add(batch.producer_id)
        await log.replace(replacement, end)
    except BaseException:
        replacement.discard()
        raise


async def _find_newest(log: PartitionLog, end: int, producers_from_ms: int) -> _Newest:
    newest = _Newest({}, {}, {})
    async for stored in _stored(log, end):
        batch = stored.batch
        if batch.producer_id >= 0 and stored.appended_ms >= producers_from_ms:
            of_producer = newest.marker_of_producer if batch.is_control else newest.data_of_producer
            of_producer[batch.producer_id] = batch.base_offset
        if batch.is_control or stored.aborted:
            continue
        try:
            for record in records_of(stored.raw):
                if record.key is not None:
                    newest.of_key[record.key] = record.offset
        except UnreadableError:
            continue
    return newest


def _kept_of(stored: _Stored, newest: _Newest, tombstones_from_ms: int) -> bytes | None:
    """Return what stays of a batch of data: all of it, a batch with fewer records, or nothing."""
    batch, raw = stored.batch, stored.raw
    old = stored.appended_ms < tombstones_from_ms
    kept: set[int] = set()
    try:
        if not stored.aborted:
            for record in records_of(raw):
                is_newest = record.key is None or newest.of_key[record.key] == record.offset
                if is_newest and not (old and record.value is None):
                    kept.add(record.offset)
        if len(kept) == batch.record_count > 0:
            return raw
        if kept or newest.data_of_producer.get(batch.producer_id) == batch.base_offset:
            return with_records(raw, batch, kept)
    except UnreadableError:
        return raw
    return None


async def _shorten(log: PartitionLog, from_ms: int) -> None:
    """Take away the oldest batches as long as they are older than `from_ms`, and copy the others."""
    end = log.cleanable_bytes()
    begin = min(end, log.bytes_before(from_ms))
    if begin == 0:
        return
    replacement = log.begin_replacement()
    try:
        async for stored in _stored(log, end, begin):
            replacement.add(stored.raw)
        await log.replace(replacement, end)
    except BaseException:
        replacement.discard()
        raise


async def _stored(log: PartitionLog, end: int, begin: int = 0) -> AsyncIterator[_Stored]:
    """Yield the batches between two positions of the file, at a pace that leaves time for requests."""
    aborted, appended_ms, since = AbortedReading(log.aborted()), 0, time.monotonic()
    for batch, raw in log.stored(begin, end):
        appended_ms = max(appended_ms, batch.max_time_ms)
        yield _Stored(batch, raw, appended_ms, aborted.has(batch))
        if time.monotonic() - since > _WORK_SECONDS_MAX:
            await asyncio.sleep(_WORK_SECONDS_MAX)
            since = time.monotonic()

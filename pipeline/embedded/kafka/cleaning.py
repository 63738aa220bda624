"""Compact or shorten a partition's file while nobody has it open.

Compaction takes away whole batches of which every record has a later one with its key (or is a tombstone of more than
a day); it never rewrites a batch. The newest batch always stays, so offsets go on where they were, and so does the
newest of each producer that was there in the last day, so that its sequence numbers go on.
"""

import mmap
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from aiokafka.errors import UnsupportedCodecError

from pipeline.embedded.kafka.batches import Batch, read_header, records_of

_DAY_MS = 24 * 3600 * 1000
_Rule = Callable[[Batch, bytes], bool]


def clean(path: Path, configs: Mapping[str, str]) -> None:
    """Apply `cleanup.policy` and `retention.ms` of a topic to the file of one of its partitions."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        batches = list(_batches(data))
        if not batches:
            return
        rules = _rules(data, batches, configs)
        if not rules:
            return
        fixed = _last_positions(batches)
        kept = [
            (at, batch)
            for at, batch in batches
            if at in fixed or all(rule(batch, bytes(data[at : at + batch.size])) for rule in rules)
        ]
        if len(kept) < len(batches):
            _rewrite(path, data, kept)


def _rules(data: memoryview, batches: list[tuple[int, Batch]], configs: Mapping[str, str]) -> list[_Rule]:
    """Return what must hold for a batch to be kept."""
    policy = {word.strip() for word in configs.get("cleanup.policy", "delete").split(",")}
    retention_ms = int(configs.get("retention.ms", "-1"))
    now_ms = int(time.time() * 1000)
    rules: list[_Rule] = []
    if "compact" in policy:
        newest = _newest_offsets(data, batches)
        rules.append(lambda batch, raw: _is_needed(batch, raw, newest, now_ms))
    if "delete" in policy and retention_ms >= 0:
        rules.append(lambda batch, _: batch.max_time_ms >= now_ms - retention_ms)
    return rules


def _batches(data: memoryview) -> Iterator[tuple[int, Batch]]:
    at = 0
    while (batch := read_header(data, at)) is not None:
        yield at, batch
        at += batch.size


def _last_positions(batches: list[tuple[int, Batch]]) -> set[int]:
    now_ms = int(time.time() * 1000)
    recent = {batch.producer_id: at for at, batch in batches if batch.max_time_ms >= now_ms - _DAY_MS}
    return {batches[-1][0], *recent.values()}


def _newest_offsets(data: memoryview, batches: list[tuple[int, Batch]]) -> dict[bytes, int]:
    newest: dict[bytes, int] = {}
    for at, batch in batches:
        try:
            for record in records_of(bytes(data[at : at + batch.size])):
                if record.key is not None:
                    newest[record.key] = record.offset
        except UnsupportedCodecError:
            continue
    return newest


def _is_needed(batch: Batch, raw: bytes, newest: Mapping[bytes, int], now_ms: int) -> bool:
    old = batch.max_time_ms < now_ms - _DAY_MS
    try:
        for record in records_of(raw):
            is_newest = record.key is None or newest[record.key] == record.offset
            if is_newest and not (old and record.value is None):
                return True
    except UnsupportedCodecError:
        return True
    return False


def _rewrite(path: Path, data: memoryview, kept: list[tuple[int, Batch]]) -> None:
    fresh = path.with_suffix(".cleaned")
    with fresh.open("wb") as out:
        for at, batch in kept:
            out.write(data[at : at + batch.size])
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)

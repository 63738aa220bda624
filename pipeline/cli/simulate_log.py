"""What a simulation reads from Kafka: the grants of customers, and the whole log of those whose lines do not say enough."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import as_completed
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from pipeline.billing.simulate_pool import cores, pool_of
from pipeline.cli.audit_log import LogError, Logs, Offsets, as_record, open_logs
from pipeline.codec.records import decode_billing
from pipeline.codec.switches import SWITCH_KEY
from pipeline.domain.catalog import Catalog
from pipeline.domain.grants import Grant
from pipeline.domain.instants import MILLISECOND_US
from pipeline.domain.periods import Period
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from pipeline.domain.resim import Bills
from pipeline.published import read_versions
from pipeline.rating.resim_log import Fingerprint, History, LogRating
from pipeline.settings import Settings

_TOPICS = (EVENTS_TOPIC, GRANTS_TOPIC)
_held: dict[str, Any] = {}
"""Of a process of the pool: what all partitions share."""


async def read_grants(settings: Settings, period: Period) -> dict[str, list[Grant]]:
    """Return the grants of each customer that may be in effect in a period. Raises LogError, KafkaError."""
    found: dict[str, list[Grant]] = {}
    async with open_logs(settings, _TOPICS) as logs:
        await _check_whole(logs, GRANTS_TOPIC)
        begins, ends = await logs.begins(GRANTS_TOPIC), await logs.ends(GRANTS_TOPIC)
        async for records in logs.read(begins, ends):
            for record in records:
                grant = _grant_in(as_record(record), period)
                if grant is not None:
                    found.setdefault(grant.customer, []).append(grant)
    return found


async def _check_whole(logs: Logs, *topics: str) -> None:
    for place, offset in (await logs.begins(*topics)).items():
        if offset > 0:
            raise LogError(
                f"{place.topic}/{place.partition} begins at offset {offset}: what came before is deleted (retention)"
            )


def _grant_in(record: Record, period: Period) -> Grant | None:
    if record.key == SWITCH_KEY:
        return None
    try:
        grant = decode_billing(record)
    except Rejected:
        return None
    if not isinstance(grant, Grant) or not grant.quantity:
        return None
    effective_us = record.timestamp_ms * MILLISECOND_US if grant.effective_us is None else grant.effective_us
    over = grant.expires_us is not None and grant.expires_us <= period.start_us
    return None if over or effective_us >= period.end_us else grant


async def read_ends(settings: Settings) -> Offsets:
    """Return where the log ends now. Raises LogError when its beginning is gone, and KafkaError."""
    async with open_logs(settings, _TOPICS) as logs:
        await _check_whole(logs, *_TOPICS)
        return await logs.ends(*_TOPICS)


class Rated(NamedTuple):
    """What came of a customer's log."""

    old: Bills
    new: Bills
    fingerprint: Fingerprint
    fault: str | None = None
    """Why it could not be rated."""


class Task(NamedTuple):
    """What of the log is to be rated, and under what."""

    histories: Mapping[str, History]
    """By customer."""
    known: Mapping[str, Catalog]
    """Catalog versions by digest, where billing.catalog need not be asked."""
    new: Catalog
    period: str
    ends: Offsets


def rate_log(settings: Settings, task: Task, on_records: Callable[[int], object]) -> Iterator[dict[str, Rated]]:
    """Yield customers' bills as they are and under another catalog, rated from the log, partition by partition."""
    partitions = sorted({place.partition for place in task.ends})
    with pool_of(min(cores(), len(partitions)), _hold, settings, task) as pool:
        waiting = {pool.submit(_rate_partition, number): number for number in partitions}
        for done in as_completed(waiting):
            on_records(sum(end for place, end in task.ends.items() if place.partition == waiting[done]))
            yield done.result()


def _hold(settings: Settings, task: Task) -> None:
    _held.update(settings=settings, task=task)


def _rate_partition(number: int) -> dict[str, Rated]:
    return asyncio.run(_rate(number, _held["settings"], _held["task"]))


async def _rate(number: int, settings: Settings, task: Task) -> dict[str, Rated]:
    versions = await read_versions(settings)

    def catalog_of(digest: str) -> Catalog:
        return task.known[digest] if digest in task.known else versions.catalog(digest)

    first = next(iter(task.known.values())) if versions.first is None else versions.catalog(versions.first)
    ratings: dict[bytes, LogRating] = {}
    faults: dict[bytes, str] = {}
    async with open_logs(settings, _TOPICS) as logs:
        async for record in _merged(logs, number, task):
            key = record.key or b""
            rating = ratings.get(key)
            if rating is None:
                rating = ratings[key] = LogRating(
                    catalog_of, first, task.new, task.period, task.histories[key.decode()]
                )
            try:
                rating.rate(record)
            except KeyError as error:
                faults[key] = f"{error}: give that catalog as --published OLD"
    return {key.decode(): _rated(rating, faults.get(key)) for key, rating in ratings.items()}


def _rated(rating: LogRating, fault: str | None) -> Rated:
    if fault is None:
        rating.finish()
    return Rated(rating.old, rating.new, rating.fingerprint, fault)


async def _merged(logs: Logs, number: int, task: Task) -> AsyncIterator[Record]:
    """Yield the customers' records of a partition in the order of rating: by timestamp, a grant first (decisions/0002).

    Grants of customers whose lines say where they stand come before everything else.
    """
    keys = frozenset(name.encode() for name in task.histories)
    placed = {name.encode() for name, history in task.histories.items() if history.versions is not None}
    waiting: deque[Record] = deque()
    async for record in _records(logs, TopicPartition(GRANTS_TOPIC, number), keys, task.ends):
        if record.key in placed:
            yield record
        else:
            waiting.append(record)
    async for record in _records(logs, TopicPartition(EVENTS_TOPIC, number), keys, task.ends):
        while waiting and waiting[0].timestamp_ms <= record.timestamp_ms:
            yield waiting.popleft()
        yield record
    for record in waiting:
        yield record


async def _records(
    logs: Logs, place: TopicPartition, keys: frozenset[bytes], ends: Mapping[TopicPartition, int]
) -> AsyncIterator[Record]:
    async for fetched in logs.read({place: 0}, {place: ends[place]}):
        for record in fetched:
            if record.key in keys:
                yield as_record(record)

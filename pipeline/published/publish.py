"""Publishing a catalog version: the version, and in every partition the record from which on it is in force (R10.4)."""

import asyncio
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from pipeline.catalog import CatalogError, canonical_document, check_published, digest_of, read_catalog
from pipeline.codec.switches import SWITCH_KEY, encode_switch
from pipeline.domain.records import CATALOG_TOPIC, GRANTS_TOPIC
from pipeline.published.versions import PLACE, Versions, read_versions
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments

PUBLISH_S_MAX = 60.0
_TRANSACTIONAL_ID = "usage-catalog-publish"
"""One for all: who publishes shuts out whoever began earlier and has not finished."""
_REQUEST_BYTES_MAX = 15 << 20

Check = Callable[[Versions], None]
"""Raises when a catalog may not follow the versions that are there."""


class Publication(NamedTuple):
    """What came of publishing."""

    digest: str
    before: str | None
    """Digest of the version that was the latest before."""
    partitions: int
    """In how many partitions the version was put in force; 0 when it was already."""


async def publish(settings: Settings, path: Path, today: date, *, dry_run: bool = False) -> Publication:
    """Publish the catalog at a path, a file or folder, unless it is the latest already.

    Raises CatalogError when it has faults or breaks R4.3 against the latest version on the day `today`, KafkaError, and
    TimeoutError when it is not certain whether it is published: to publish again is safe.
    """
    files, faults = read_catalog(path)
    if faults:
        raise CatalogError(faults)
    document = canonical_document(files)
    async with asyncio.timeout(PUBLISH_S_MAX):
        if dry_run:
            versions = await read_versions(settings)
            _check(path, versions, today)
            return Publication(digest_of(document), versions.latest, 0)
        return await publish_document(settings, document, lambda versions: _check(path, versions, today))


async def publish_document(settings: Settings, document: bytes, check: Check) -> Publication:
    """Publish a document once `check` has nothing against it beside the versions that are there."""
    producer = AIOKafkaProducer(
        **kafka_arguments(settings),
        transactional_id=_TRANSACTIONAL_ID,
        acks="all",
        max_request_size=_REQUEST_BYTES_MAX,
    )
    await producer.start()
    try:
        versions = await read_versions(settings)  # after the start, which has shut out earlier publishers
        digest, before = digest_of(document), versions.latest
        if digest == before:
            return Publication(digest, before, 0)
        check(versions)
        partitions = sorted(await producer.partitions_for(GRANTS_TOPIC))
        async with producer.transaction():
            sent = [await producer.send(CATALOG_TOPIC, document, key=digest.encode(), partition=PLACE.partition)]
            switch: dict[str, Any] = {
                "value": encode_switch(digest),
                "key": SWITCH_KEY,
                "timestamp_ms": _stamp_ms(before),
            }
            sent += [await producer.send(GRANTS_TOPIC, **switch, partition=partition) for partition in partitions]
            await asyncio.gather(*sent)
        return Publication(digest, before, len(partitions))
    finally:
        await producer.stop()


def _stamp_ms(before: str | None) -> int:
    """Return the timestamp of a switch: now; the first version is in force from the beginning of time (R10.4)."""
    return 0 if before is None else time.time_ns() // 1_000_000


def _check(path: Path, versions: Versions, today: date) -> None:
    """Raise CatalogError when the catalog at a path may not follow the latest version (R4.3)."""
    if versions.latest is None:
        return
    with TemporaryDirectory() as folder:
        old = Path(folder) / "published.yaml"
        old.write_bytes(versions.document(versions.latest))
        faults = check_published(path, old, today)
    if faults:
        raise CatalogError(faults)

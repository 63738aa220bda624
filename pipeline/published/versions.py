"""The catalog versions that `billing.catalog` holds."""

import asyncio
import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.catalog import catalog_of_document, digest_of
from pipeline.domain.catalog import Catalog
from pipeline.domain.records import CATALOG_TOPIC
from pipeline.settings import Settings
from pipeline.settings.clients import consumer_arguments

PLACE = TopicPartition(CATALOG_TOPIC, 0)
"""Versions have one order: all of them are in one partition."""
READ_S_MAX = 30.0
_POLL_MS = 500

log = logging.getLogger(__name__)


class UnknownVersionError(KeyError):
    """A catalog version is not on billing.catalog; the message says which."""

    def __str__(self) -> str:
        return str(self.args[0])


class Versions:
    """Catalog versions by digest, in the order in which they were published."""

    def __init__(self) -> None:
        self._documents: dict[str, bytes] = {}
        self._built = lru_cache(maxsize=8)(self._build)

    def __contains__(self, digest: str) -> bool:
        return digest in self._documents

    def add(self, records: Iterable[Any]) -> None:
        """Take records of billing.catalog; one whose value is not what its key names is left out, and logged."""
        for record in records:
            digest = (record.key or b"").decode(errors="replace")
            if record.value is None or digest_of(record.value) != digest:
                log.error(
                    "%s offset %d: the value is not the version %r: left out", CATALOG_TOPIC, record.offset, digest
                )
                continue
            self._documents.pop(digest, None)  # published again: it is the latest again
            self._documents[digest] = record.value

    @property
    def latest(self) -> str | None:
        """Return the digest of the version that was published last, None before the first."""
        return next(reversed(self._documents), None)

    @property
    def first(self) -> str | None:
        """Return the digest of the version that was published first of those that are there."""
        return next(iter(self._documents), None)

    def document(self, digest: str) -> bytes:
        """Return a version as it was published, a catalog file. Raises UnknownVersionError."""
        try:
            return self._documents[digest]
        except KeyError:
            raise UnknownVersionError(f"catalog version {digest} is not on {CATALOG_TOPIC}") from None

    def catalog(self, digest: str) -> Catalog:
        """Return a version's catalog. Raises UnknownVersionError."""
        return self._built(digest)

    def _build(self, digest: str) -> Catalog:
        return catalog_of_document(self.document(digest))


async def read_versions(settings: Settings) -> Versions:
    """Return the versions that are on the topic now. Raises KafkaError, TimeoutError."""
    async with asyncio.timeout(READ_S_MAX):
        consumer = await open_consumer(settings)
        try:
            versions = Versions()
            await read_to_end(consumer, versions)
        finally:
            await consumer.stop()
    return versions


async def open_consumer(settings: Settings) -> AIOKafkaConsumer:
    """Return a consumer at the topic's beginning."""
    consumer = AIOKafkaConsumer(**consumer_arguments(settings), auto_offset_reset="earliest")
    try:
        await consumer.start()
        consumer.assign([PLACE])
        await consumer.seek_to_beginning(PLACE)
    except BaseException:
        await consumer.stop()
        raise
    return consumer


async def read_to_end(consumer: AIOKafkaConsumer, versions: Versions) -> None:
    """Take everything that the topic holds now. Raises KafkaError."""
    ends = await consumer.end_offsets([PLACE])
    while await consumer.position(PLACE) < ends[PLACE]:
        await take(consumer, versions, _POLL_MS)


async def take(consumer: AIOKafkaConsumer, versions: Versions, timeout_ms: int) -> bool:
    """Take what comes within a time; say whether something came."""
    fetched = await consumer.getmany(timeout_ms=timeout_ms)
    for records in fetched.values():
        versions.add(records)
    return bool(fetched)

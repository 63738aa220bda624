"""Public keys that deployments sign offline batches with: kept in `access.keys`, one record a deployment and key."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pipeline.access.log import open_consumer, write_record
from pipeline.domain.records import KEYS_TOPIC
from pipeline.settings import Settings

KEY_PREFIX = "signing/"
READ_S_MAX = 60.0
_POLL_MS = 500


class SigningKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """A deployment's public key. Times are in microseconds since 1970."""

    id: str
    deployment: str
    public_key: str
    created_us: int
    revoked_us: int | None = None

    @property
    def state(self) -> str:
        """Return "active" or "revoked"."""
        return "active" if self.revoked_us is None else "revoked"


SigningKeys = Mapping[tuple[str, str], SigningKey]
"""By deployment and id."""


async def write_signing_key(settings: Settings, key: SigningKey) -> None:
    """Write a key, added or revoked, and return once Kafka has acknowledged it. Raises KafkaError, TimeoutError."""
    await write_record(settings, KEYS_TOPIC, record_key_of(key.deployment, key.id), msgspec.json.encode(key))


def record_key_of(deployment: str, identity: str) -> bytes:
    """Return the Kafka key of a signing key. An id has no slash, whatever a deployment's name has."""
    return f"{KEY_PREFIX}{deployment}/{identity}".encode()


async def read_signing_keys(settings: Settings) -> SigningKeys:
    """Return all signing keys as they are now. Raises KeysUnavailableError, KafkaError, TimeoutError."""
    return signing_keys_in(await read_key_records(settings, (KEY_PREFIX,)))


def signing_keys_in(records: Mapping[bytes, bytes]) -> SigningKeys:
    """Return the signing keys among records; one that cannot be read, or lies under another's name, is none."""
    keys = {}
    for record_key, value in records.items():
        if not record_key.startswith(KEY_PREFIX.encode()):
            continue
        try:
            key = msgspec.json.decode(value, type=SigningKey)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if record_key_of(key.deployment, key.id) == record_key:
            keys[key.deployment, key.id] = key
    return keys


async def read_key_records(settings: Settings, prefixes: Iterable[str]) -> dict[bytes, bytes]:
    """Return the last value of every record of `access.keys` whose key begins with one of the prefixes.

    Raises KeysUnavailableError, KafkaError, TimeoutError.
    """
    wanted = tuple(prefix.encode() for prefix in prefixes)
    found: dict[bytes, bytes] = {}
    async with asyncio.timeout(READ_S_MAX):
        consumer = await open_consumer(settings)
        try:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            while not all([await consumer.position(place) >= end for place, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    _apply(records, wanted, found)
        finally:
            await consumer.stop()
    return found


def _apply(records: Iterable[Any], wanted: tuple[bytes, ...], found: dict[bytes, bytes]) -> None:
    for record in records:
        if record.key is None or not record.key.startswith(wanted):
            continue
        if record.value is None:
            found.pop(record.key, None)
        else:
            found[record.key] = record.value

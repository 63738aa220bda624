"""Duplicates and conflicts (R6.1), repeated operations (R6.2): exact, by 128-bit digests."""

import msgspec
from xxhash import xxh3_64_digest, xxh3_128_digest

from pipeline.domain.digests import DIGEST_SIZE
from pipeline.domain.events import Event, UsageEvent
from pipeline.domain.rejects import ID_CONFLICT, Rejected
from pipeline.domain.state import CONTENT_SIZE, STAMP_SIZE, CustomerState

HORIZON_DAYS = 35
HORIZON_MS = HORIZON_DAYS * 24 * 3600 * 1000
_CONTENT_END = DIGEST_SIZE + CONTENT_SIZE

_encode = msgspec.json.Encoder().encode


def identity_of(event: Event) -> bytes:
    """Return the digest of an event's identity within its customer; reservations have ids of their own (R9.1)."""
    if isinstance(event, UsageEvent):
        return xxh3_128_digest(f"{event.source}\x00{event.id}".encode())
    return xxh3_128_digest(f"{event.source}\x00{event.id}\x00{type(event).__name__}".encode())


def operation_of(event: UsageEvent) -> bytes:
    """Return the digest of (source, operation, unit)."""
    return xxh3_128_digest(f"{event.source}\x00{event.operation}\x00{event.unit}".encode())


def content_of(event: Event) -> bytes:
    """Return the digest of an event's content: 64 bits, since they only tell apart two events under one identity."""
    return xxh3_64_digest(_encode(event))


def is_duplicate(known: bytes, content: bytes, watermark_ms: int) -> bool:
    """Return whether an event's identity is `known` as one that was accepted within the last 35 days (R6.1).

    Raises Rejected (id_conflict) when it was accepted with other content.
    """
    if accepted_ms(known) + HORIZON_MS < watermark_ms:
        return False
    if known[DIGEST_SIZE:_CONTENT_END] != content:
        raise Rejected(ID_CONFLICT, "id: this source has sent another event under the same id")
    return True


def accepted_ms(entry: bytes) -> int:
    """Return the watermark at which a remembered identity was accepted."""
    return int.from_bytes(entry[_CONTENT_END:], "big", signed=True)


def forget_identities(state: CustomerState) -> None:
    """Drop the identities that no event can repeat any more, since the watermark never falls."""
    horizon_ms = state.watermark_ms - HORIZON_MS
    if state.oldest_identity_ms < horizon_ms:
        state.identities.forget(lambda entry: accepted_ms(entry) < horizon_ms)
        state.oldest_identity_ms = min(map(accepted_ms, state.identities), default=state.watermark_ms)


def remember(state: CustomerState, identity: bytes, content: bytes) -> None:
    """Remember an event that is accepted at the customer's watermark.

    It is the watermark, not the record's own timestamp, that counts the 35 days: it never falls, so that a sender whose
    clock ran ahead once does not make us forget what comes after it (docs/rules.md, R6.1).
    """
    state.identities.add(identity + content + state.watermark_ms.to_bytes(STAMP_SIZE, "big", signed=True))

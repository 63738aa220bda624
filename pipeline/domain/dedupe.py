"""Duplicates and conflicts (R6.1), repeated operations (R6.2): exact, by 128-bit digests."""

from hashlib import blake2b

from pipeline.domain.events import UsageEvent
from pipeline.domain.rejects import ID_CONFLICT, Rejected
from pipeline.domain.state import CustomerState, Identity

HORIZON_DAYS = 35
HORIZON_MS = HORIZON_DAYS * 24 * 3600 * 1000
DIGEST_SIZE = 16


def digest(text: str) -> bytes:
    """Return 128 bits that no two texts share."""
    return blake2b(text.encode(), digest_size=DIGEST_SIZE).digest()


def identity_of(event: UsageEvent) -> bytes:
    """Return the digest of an event's identity within its customer."""
    return digest(f"{event.source}\x00{event.id}")


def operation_of(event: UsageEvent) -> bytes:
    """Return the digest of (source, operation, unit)."""
    return digest(f"{event.source}\x00{event.operation}\x00{event.unit}")


def is_duplicate(state: CustomerState, identity: bytes, content: bytes, watermark_ms: int) -> bool:
    """Return whether the same event was accepted within the last 35 days before the watermark (R6.1).

    Raises Rejected (id_conflict) when that identity was accepted with other content.
    """
    known = state.identities.get(identity)
    if known is None or known.accepted_ms + HORIZON_MS < watermark_ms:
        return False
    if known.content != content:
        raise Rejected(ID_CONFLICT, "id: this source has sent another event under the same id")
    return True


def forget_identities(state: CustomerState) -> None:
    """Drop the identities that no event can repeat any more, since the watermark never falls."""
    horizon = state.watermark_ms - HORIZON_MS
    expired = [identity for identity, known in state.identities.items() if known.accepted_ms < horizon]
    for identity in expired:
        del state.identities[identity]


def remember(state: CustomerState, identity: bytes, accepted_ms: int, content: bytes) -> None:
    """Remember an event that is accepted at a watermark.

    It is the watermark, not the record's own timestamp, that counts the 35 days: it never falls, so that a sender whose
    clock ran ahead once does not make us forget what comes after it (docs/rules.md, R6.1).
    """
    state.identities[identity] = Identity(accepted_ms, content)

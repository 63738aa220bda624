"""Reserving through a gate: asked for by the client, told by the quota records (R9)."""

import asyncio
import contextlib
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pipeline.quota.live import LiveQuota
from pipeline.quota.requests import OPTIONAL, REQUIRED
from pipeline.quota.waiting import HELD
from pipeline.sdk.events import Sender, new_id
from pipeline.sdk.reservation import Reservation

if TYPE_CHECKING:
    from pipeline.sdk.client import UsageClient
    from pipeline.sdk.gate import Answer, QuotaGate

UNKNOWN = "reservation_unknown"
_CHECKED = frozenset((*REQUIRED, *OPTIONAL)) - {"deployment", "environment", "reservation"}


class Reserved(NamedTuple):
    """What came of asking for a reservation; it is true when the call may go."""

    status: Literal["held", "refused", "unknown"]
    """unknown: nothing was heard in time, and the policy of the unit has decided."""
    allowed: bool
    reason: str | None
    sentence: str
    """For the customer."""
    reservation: Reservation | None
    """To commit or release; None when the call may not go."""

    def __bool__(self) -> bool:
        return self.allowed


class _Asked(NamedTuple):
    sender: Sender
    reservation: Reservation
    future: Future[str | None]
    identity: str


def reserve(
    gate: "QuotaGate", live: LiveQuota, client: "UsageClient", ttl_s: int, wait_s: float, fields: Mapping[str, Any]
) -> Reserved:
    """Reserve, and wait in this thread; see `QuotaGate.reserve`."""
    answer = _check(gate, client, fields)
    if not answer.allowed:
        return _refused(answer)
    asked = _ask(live, client, ttl_s, fields)
    with contextlib.suppress(TimeoutError):
        asked.future.result(wait_s if asked.reservation.id is not None else 0)
    return _concluded(gate, live, client, asked, fields)


async def areserve(
    gate: "QuotaGate", live: LiveQuota, client: "UsageClient", ttl_s: int, wait_s: float, fields: Mapping[str, Any]
) -> Reserved:
    """Reserve, and wait in this coroutine; one that is cancelled releases."""
    answer = _check(gate, client, fields)
    if not answer.allowed:
        return _refused(answer)
    asked = _ask(live, client, ttl_s, fields)
    try:
        if asked.reservation.id is not None:
            await asyncio.wait([asyncio.wrap_future(asked.future)], timeout=wait_s)
    except asyncio.CancelledError:
        asked.reservation.release()
        live.waiting.drop(asked.sender.customer, asked.sender.deployment, asked.identity)
        raise
    return _concluded(gate, live, client, asked, fields)


def _check(gate: "QuotaGate", client: "UsageClient", fields: Mapping[str, Any]) -> "Answer":
    known: dict[str, Any] = {name: fields.get(name) for name in ("workspace", "feature", "model", "unit")}
    known |= {name: value for name, value in fields.items() if name in _CHECKED}
    return gate.check(**known, **client.sender._asdict())


def _ask(live: LiveQuota, client: "UsageClient", ttl_s: int, fields: Mapping[str, Any]) -> _Asked:
    sender = client.sender
    identity = fields.get("id") or new_id()
    future = live.waiting.expect(sender.customer, sender.deployment, identity)
    given: Any = dict(fields) | {"id": identity}
    return _Asked(sender, client.reserve(ttl_s=ttl_s, **given), future, identity)


def _concluded(
    gate: "QuotaGate", live: LiveQuota, client: "UsageClient", asked: _Asked, fields: Mapping[str, Any]
) -> Reserved:
    live.waiting.drop(asked.sender.customer, asked.sender.deployment, asked.identity)
    if asked.future.done():
        refused = asked.future.result()
        if refused is HELD:
            return Reserved(
                "held", allowed=True, reason=None, sentence="It is reserved.", reservation=asked.reservation
            )
        answer = _check(gate, client, fields)
        sentence = f"It cannot be reserved: {refused}." if answer.allowed else answer.sentence
        return Reserved("refused", allowed=False, reason=refused, sentence=sentence, reservation=None)
    if gate.policy(str(fields.get("unit"))) == "open":
        sentence = "Whether it is reserved is not known; this call may go."
        return Reserved("unknown", allowed=True, reason=UNKNOWN, sentence=sentence, reservation=asked.reservation)
    asked.reservation.release()
    sentence = "Whether it is reserved is not known, so this call must wait. Try again shortly."
    return Reserved("unknown", allowed=False, reason=UNKNOWN, sentence=sentence, reservation=None)


def _refused(answer: "Answer") -> Reserved:
    return Reserved("refused", allowed=False, reason=answer.reason, sentence=answer.sentence, reservation=None)

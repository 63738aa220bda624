"""Events that came over HTTP: looked at one by one as the worker will, and packed into records for Kafka (R2.1)."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from pipeline.access import Action, Principal, Resource, refusal
from pipeline.api.contents import BATCH, SINGLE
from pipeline.api.delivery import Outgoing
from pipeline.codec.records import BATCH_EVENTS_MAX, RECORD_BYTES_MAX, decode_events
from pipeline.domain.admission import Envelope, admit
from pipeline.domain.catalog import Catalog
from pipeline.domain.events import STRING_MAX, Event
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.domain.rejects import INVALID_FIELD, MALFORMED, TOO_LARGE, Rejected

FORBIDDEN = "forbidden"
"""Beside the codes of R2.3: the key may not emit this."""
_FORM = (INVALID_FIELD, TOO_LARGE, MALFORMED)


class Accepted(NamedTuple):
    """An event that goes to Kafka, as it was sent."""

    id: str
    customer: str
    text: bytes


class Refused(NamedTuple):
    """An event that does not; `id` is None when it cannot be told."""

    id: str | None
    code: str
    message: str


Verdict = Accepted | Refused


def judge(text: bytes, principal: Principal, catalog: Catalog, now_ms: int) -> Verdict:
    """Return whether an event may go to Kafka in a record of this timestamp; the worker would say the same (R2.3)."""
    try:
        event = _decode(text, now_ms)
        reason = refusal(principal, Action.EMIT, Resource(event.customer, event.source), catalog)
        if reason is not None:
            return Refused(event.id, FORBIDDEN, reason)
        admit(catalog, event, Envelope(event.customer, now_ms))
    except Rejected as rejected:
        return Refused(_id_in(text), rejected.code, rejected.message)
    return Accepted(event.id, event.customer, text)


def _decode(text: bytes, now_ms: int) -> Event:
    """Return the event in a JSON text as the worker reads it in a batch, which is the stricter way. Raises Rejected."""
    events = decode_events(Record(EVENTS_TOPIC, 0, 0, now_ms, None, b"[%b]" % text))
    if len(events) != 1:
        raise Rejected(MALFORMED, "not JSON: more than one value")
    if isinstance(events[0], Rejected):
        raise events[0]
    return events[0]


def _id_in(text: bytes) -> str | None:
    """Return the id of an event that is not in order, if it has one to tell it by."""
    try:
        identity = orjson.loads(text)["id"]
    except (orjson.JSONDecodeError, TypeError, KeyError, IndexError):
        return None
    return identity if isinstance(identity, str) and len(identity) <= STRING_MAX else None


def pack(verdicts: Iterable[Verdict], now_ms: int) -> list[Outgoing]:
    """Return the records of the accepted events: by customer, in their order, each within the limits of R2.1."""
    texts: dict[str, list[bytes]] = {}
    for verdict in verdicts:
        if isinstance(verdict, Accepted):
            texts.setdefault(verdict.customer, []).append(verdict.text)
    return [
        _record(customer, fitting, now_ms)
        for customer, of_customer in texts.items()
        for fitting in _fitting(of_customer)
    ]


def _fitting(texts: list[bytes]) -> Iterator[list[bytes]]:
    """Yield the texts in lists that are small enough to be an array each."""
    fitting: list[bytes] = []
    size = 0
    for text in texts:
        if fitting and (size + len(text) + 2 > RECORD_BYTES_MAX or len(fitting) == BATCH_EVENTS_MAX):
            yield fitting
            fitting, size = [], 0
        fitting.append(text)
        size += len(text) + 1
    if fitting:
        yield fitting


def _record(customer: str, texts: list[bytes], now_ms: int) -> Outgoing:
    single = len(texts) == 1
    value = texts[0] if single else b"[%b]" % b",".join(texts)
    headers = (("content-type", (SINGLE if single else BATCH).encode()),)
    return Outgoing(EVENTS_TOPIC, customer.encode(), value, headers, now_ms)


def results(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """Return what the answer says of each event."""
    return [
        {"index": index, "id": verdict.id, "status": "accepted"}
        if isinstance(verdict, Accepted)
        else {"index": index, "id": verdict.id, "status": "rejected", "code": verdict.code, "message": verdict.message}
        for index, verdict in enumerate(verdicts)
    ]


def status_of_none(codes: set[str]) -> int:
    """Return the HTTP status for events of which none is accepted, for these reasons.

    409 says that the events are sound, but at odds with the catalog or the clock.
    """
    if codes == {MALFORMED}:
        return 400
    if codes == {FORBIDDEN}:
        return 403
    return 422 if codes & set(_FORM) else 409

"""`POST /v1/events`: the collector."""

import asyncio
import time
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipeline.access import Principal
from pipeline.api import describe
from pipeline.api.bodies import InFlight, read_body
from pipeline.api.collect import Refused, Verdict, judge, pack, results, status_of_none
from pipeline.api.contents import take_apart
from pipeline.api.delivery import Delivery, NotDeliveredError, Outgoing
from pipeline.api.guard import Authenticated
from pipeline.api.problems import Problem, try_again_later
from pipeline.domain.catalog import Catalog
from pipeline.settings import Settings

KAFKA_RETRY_S = 5
_JUDGED_AT_ONCE = 250
"""Events that are looked at before other requests get their turn: about two milliseconds."""

router = APIRouter(tags=["events"])


@router.post("/events", status_code=202, response_class=Response, **describe.POST_EVENTS)
async def post_events(request: Request, caller: Authenticated) -> Response:
    """Take in usage events; a deployment's key its own, an operator's any deployment's.

    The answer is 202 once Kafka has acknowledged every event that it calls accepted. Events that are not in order are
    rejected one by one. After a failure send the same events with the same ids again: an id counts once.
    """
    in_flight: InFlight = request.app.state.in_flight
    check_delivery(request)
    with in_flight.room() as room:
        settings: Settings = request.app.state.settings
        body = await read_body(
            request, room, bytes_max=settings.api_body_bytes_max, timeout_s=settings.api_body_timeout_ms / 1000
        )
        now_ms = time.time_ns() // 1_000_000
        texts = take_apart(
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw], body
        )
        verdicts = await _judge_all(texts, caller.principal, request.app.state.catalog, now_ms)
        records = pack(verdicts, now_ms)
        rejected = sum(isinstance(each, Refused) for each in verdicts)
        request.state.note = f"events={len(verdicts)} rejected={rejected} bytes={len(body)}"
        if not records:
            raise _nothing_accepted(verdicts)
        await deliver(request, records)
    return Response(orjson.dumps(_answer(verdicts, rejected)), 202, media_type="application/json")


def check_delivery(request: Request) -> None:
    """Refuse a request before its body is read when Kafka is away. Raises Problem (503)."""
    delivery: Delivery = request.app.state.delivery
    try:
        delivery.check()
    except NotDeliveredError as error:
        raise _kafka_away(error) from None


async def deliver(request: Request, records: list[Outgoing]) -> None:
    """Return once Kafka has acknowledged. Raises Problem (503), which says that repeating is safe."""
    delivery: Delivery = request.app.state.delivery
    try:
        await delivery.send(records)
    except NotDeliveredError as error:
        raise _kafka_away(error) from None


def _kafka_away(error: NotDeliveredError) -> Problem:
    outcome = "It is not certain what was written" if error.uncertain else "Nothing was written"
    detail = f"{error}. {outcome}; send the same again with the same ids: an id counts once."
    return try_again_later(503, "kafka-away", detail, after_s=KAFKA_RETRY_S)


async def _judge_all(texts: list[bytes], principal: Principal, catalog: Catalog, now_ms: int) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for start in range(0, len(texts), _JUDGED_AT_ONCE):
        verdicts += [judge(text, principal, catalog, now_ms) for text in texts[start : start + _JUDGED_AT_ONCE]]
        await asyncio.sleep(0)
    return verdicts


def _nothing_accepted(verdicts: list[Verdict]) -> Problem:
    refused = [each for each in verdicts if isinstance(each, Refused)]
    what = f"The event is rejected: {refused[0].message}."
    if len(refused) > 1:
        what = f"All {len(refused)} events are rejected, the first one: {refused[0].message}."
    return Problem(
        status_of_none({each.code for each in refused}), "no-event-accepted", what, results=results(verdicts)
    )


def _answer(verdicts: list[Verdict], rejected: int) -> dict[str, Any]:
    accepted = len(verdicts) - rejected
    message = f"All {accepted} events are accepted."
    if rejected:
        message = f"Accepted: {accepted} of {len(verdicts)} events. Rejected and not kept: {rejected}."
    elif accepted == 1:
        message = "The event is accepted."
    return {"accepted": accepted, "rejected": rejected, "message": message, "results": results(verdicts)}

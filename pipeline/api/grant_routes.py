"""`POST /v1/grants`: extra quantity and prepaid money."""

import time

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipeline.access import Action
from pipeline.api import describe
from pipeline.api.bodies import read_body
from pipeline.api.event_routes import deliver
from pipeline.api.grants import check_grant
from pipeline.api.guard import Authenticated
from pipeline.api.problems import Problem
from pipeline.codec.records import GRANT_BYTES_MAX
from pipeline.domain.rejects import MALFORMED, TOO_LARGE, UNKNOWN_CUSTOMER, Rejected

_STATUSES = {MALFORMED: 400, TOO_LARGE: 413, UNKNOWN_CUSTOMER: 409}

router = APIRouter(tags=["grants"])


@router.post("/grants", status_code=202, response_class=Response, **describe.POST_GRANTS)
async def post_grants(request: Request, caller: Authenticated) -> Response:
    """Give a customer extra quantity (`grant`) or prepaid money (`topup`); for operators.

    The answer is 202 once Kafka has acknowledged it. An id counts once for ever, so repeat a request with its id.
    """
    caller.require(Action.WRITE_GRANTS)
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(415, "unsupported-media-type", "content-type: application/json is needed.")
    state = request.app.state
    with state.in_flight.room() as room:
        timeout_s = state.settings.api_body_timeout_ms / 1000
        body = await read_body(request, room, bytes_max=GRANT_BYTES_MAX, timeout_s=timeout_s)
        try:
            grant, record = check_grant(body, state.catalog, time.time_ns() // 1_000_000)
        except Rejected as rejected:
            status = _STATUSES.get(rejected.code, 422)
            raise Problem(status, rejected.code.replace("_", "-"), f"{rejected.message}.") from None
        await deliver(request, [record])
    answer = {"id": grant.id, "customer": grant.customer, "status": "accepted"}
    return Response(orjson.dumps(answer), 202, media_type="application/json")

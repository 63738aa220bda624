"""Quota over HTTP: what a customer has, whether a call may go, and what it would cost (docs/quota.md)."""

import asyncio
import time
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipeline.access import Action, readable_apps
from pipeline.api import quota_schemas
from pipeline.api.bodies import read_body
from pipeline.api.guard import Authenticated, Caller
from pipeline.api.problems import Problem, try_again_later
from pipeline.api.quota_schemas import QUOTES_MAX
from pipeline.api.quota_views import shown_decision, shown_record, shown_view
from pipeline.codec.json_input import parse_json
from pipeline.domain.catalog import Catalog
from pipeline.domain.quota import Request as QuotaRequest
from pipeline.domain.rejects import MALFORMED, Rejected
from pipeline.domain.terms import TermsIndex
from pipeline.quota.board import Board
from pipeline.quota.requests import parse_request

BODY_BYTES_MAX = 256 << 10

router = APIRouter(tags=["quota"])


def readable_board(request: Request) -> Board:
    """Return the board. Raises Problem (503) while it is not read."""
    board: Board = request.app.state.board
    if not board.is_ready:
        raise try_again_later(503, "not-ready", f"{request.app.state.quota.fault}: try again in a moment.")
    return board


def require_customer(caller: Caller, catalog: Catalog, customer: str, deployment: str | None = None) -> None:
    """Raise Problem (403) unless the caller may read a customer's quota; who may not is not told whether it exists."""
    caller.require(Action.READ_QUOTA, customer, deployment)
    if customer not in catalog.customers:  # an operator asks
        raise Problem(404, "unknown-customer", f"Customer {customer!r} is not in the catalog.")


@router.post("/quota/check", response_class=Response, **quota_schemas.POST_CHECK)
async def post_check(request: Request, caller: Authenticated) -> Response:
    """Say whether a call may go, how much is left, and what it would cost. Nothing is taken or reserved.

    The answer is 200 whether it may go or not: `allowed` says it, `reason` and `sentence` say why.
    """
    customer, asked = _request(await _body(request))
    require_customer(caller, request.app.state.catalog, customer, asked.deployment)
    return Response(orjson.dumps(_decided(request, customer, asked)), media_type="application/json")


@router.get("/quota/{customer}", response_class=Response, **quota_schemas.GET_QUOTA)
async def get_quota(request: Request, customer: str, caller: Authenticated) -> Response:
    """Return a customer's quota record, its age, and what of the catalog decides about the customer.

    A key of a customer or of one of its deployments reads its own; a builder's key what belongs to its apps.
    """
    catalog: Catalog = request.app.state.catalog
    require_customer(caller, catalog, customer)
    board = readable_board(request)
    apps = readable_apps(caller.principal, catalog)
    answer = {
        "customer": customer,
        "age_ms": board.age_ms(),
        "record": orjson.Fragment(shown_record(board.value(customer), catalog, apps)),
        "view": orjson.Fragment(shown_view(catalog, customer, apps)),
    }
    return Response(orjson.dumps(answer), media_type="application/json")


@router.post("/quote", response_class=Response, **quota_schemas.POST_QUOTE)
async def post_quote(request: Request, caller: Authenticated) -> Response:
    """Say what calls would cost: one request, or an array of them, each by itself as if no other were made."""
    body = await _body(request)
    values = body if isinstance(body, list) else [body]
    if not 1 <= len(values) <= QUOTES_MAX:
        raise Problem(
            422, "invalid-field", f"1 to {QUOTES_MAX} requests are answered at once, these are {len(values)}."
        )
    asked = [_request(value, f"{index}: " if len(values) > 1 else "") for index, value in enumerate(values)]
    for customer, each in asked:
        require_customer(caller, request.app.state.catalog, customer, each.deployment)
    quotes = []
    for customer, each in asked:
        quotes.append(_decided(request, customer, each))
        await asyncio.sleep(0)
    return Response(orjson.dumps({"quotes": quotes}), media_type="application/json")


def _decided(request: Request, customer: str, asked: QuotaRequest) -> dict[str, Any]:
    board = readable_board(request)
    index: TermsIndex = request.app.state.index
    standing = board.standing(customer, index)
    decision = standing.decide(asked, time.time_ns() // 1000)
    about = {
        "customer": customer,
        "version": standing.record.version,
        "age_ms": board.age_ms(),
        "currency": index.catalog.currency,
    }
    return about | shown_decision(decision)


async def _body(request: Request) -> object:
    """Return a decoded JSON body. Raises Problem: 400, 408, 413, 415, 429."""
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(415, "unsupported-media-type", "content-type: application/json is needed.")
    state = request.app.state
    with state.in_flight.room() as room:
        timeout_s = state.settings.api_body_timeout_ms / 1000
        body = await read_body(request, room, bytes_max=BODY_BYTES_MAX, timeout_s=timeout_s)
        try:
            return parse_json(body)
        except Rejected as rejected:
            raise Problem(400, "malformed", f"{rejected.message}.") from None


def _request(value: object, where: str = "") -> tuple[str, QuotaRequest]:
    try:
        return parse_request(value)
    except Rejected as rejected:
        status = 400 if rejected.code == MALFORMED else 422
        raise Problem(status, rejected.code.replace("_", "-"), f"{where}{rejected.message}.") from None

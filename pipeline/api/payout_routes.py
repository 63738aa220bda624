"""Payouts and provider rewards of a month: two ledgers that are never mixed."""

import time
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipeline.access import Action
from pipeline.api import report_schemas
from pipeline.api.guard import Authenticated, Caller
from pipeline.api.problems import Problem
from pipeline.api.reports import MonthPath, OptionalId, ask, json_answer
from pipeline.billing.payouts import read_payouts
from pipeline.billing.rewards import read_rewards

router = APIRouter(tags=["earnings"])


@router.get("/payouts/{month}", response_class=Response, **report_schemas.GET_PAYOUTS)
async def get_payouts(
    request: Request, month: MonthPath, caller: Authenticated, builder: OptionalId = None
) -> Response:
    """Return what builders are paid for a month; a builder's key gets its own."""
    whose = builder_asked(request, caller, builder)
    read = partial(
        read_payouts, catalog=request.app.state.catalog, month=month, builder=whose, now_us=time.time_ns() // 1000
    )
    try:
        report = await ask(request, read)
    except ValueError as error:  # made in another currency than the catalog's
        raise Problem(409, "other-currency", f"{error}.") from None
    return json_answer(report.as_dict())


@router.get("/rewards/{month}", response_class=Response, **report_schemas.GET_REWARDS)
async def get_rewards(
    request: Request, month: MonthPath, caller: Authenticated, provider: OptionalId = None
) -> Response:
    """Return what providers are owed for a month; for operators."""
    caller.require(Action.READ_REWARDS)
    read = partial(read_rewards, month=month, provider=provider, currency=request.app.state.catalog.currency)
    return json_answer((await ask(request, read)).as_dict())


def builder_asked(request: Request, caller: Caller, builder: str | None) -> str | None:
    """Return whose report it is: a builder's own, or for operators that of one or, None, of all."""
    principal = caller.principal
    whose = principal.owner if builder is None and principal.scope == "builder" else builder
    caller.require(Action.READ_EARNINGS, builder=whose)
    if whose is not None and whose not in request.app.state.catalog.builders:
        raise Problem(404, "unknown-builder", f"Builder {whose!r} is not in the catalog.")
    return whose

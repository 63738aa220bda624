"""Explanations over HTTP: why a line costs what it does, and why a bill differs from another."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pipeline.access import readable_apps, sees_costs
from pipeline.api import report_schemas
from pipeline.api.customer_views import line_for_customer
from pipeline.api.guard import Authenticated, Caller
from pipeline.api.problems import Problem
from pipeline.api.reports import (
    SEQ_MAX,
    IdQuery,
    OptionalPeriod,
    PeriodQuery,
    ask,
    catalogs_of,
    json_answer,
    no_statement,
    require_bills,
    shown,
)
from pipeline.billing import NoStatementError
from pipeline.billing.explain_change import explain_change
from pipeline.billing.explain_line import NoLineError, explain_line
from pipeline.published import UnknownVersionError

router = APIRouter(tags=["explanations"])


@router.get("/explain/line", response_class=Response, **report_schemas.GET_EXPLAIN_LINE)
async def get_explain_line(
    request: Request, caller: Authenticated, customer: IdQuery, seq: Annotated[int, Query(ge=1, le=SEQ_MAX)]
) -> Response:
    """Say why a line costs what it does: pools, price row, tier, surcharges, plan version, and the rules."""
    require_bills(request, caller, customer, None)
    try:
        explained = await ask(
            request, partial(explain_line, catalog_of=catalogs_of(request), customer=customer, seq=seq)
        )
    except NoLineError as error:
        raise _no_line(caller, str(error)) from None
    except UnknownVersionError as error:
        raise Problem(409, "unknown-version", f"{error}: the line cannot be explained without it.") from None
    apps = readable_apps(caller.principal, request.app.state.catalog)
    if apps is not None and explained.line.app not in apps:
        raise _no_line(caller, "of another builder")
    return json_answer(explained.as_dict() if sees_costs(caller.principal) else line_for_customer(explained))


@router.get("/explain/change", response_class=Response, **report_schemas.GET_EXPLAIN_CHANGE)
async def get_explain_change(
    request: Request,
    caller: Authenticated,
    customer: IdQuery,
    app: IdQuery,
    period: PeriodQuery,
    against: OptionalPeriod = None,
) -> Response:
    """Say why a bill differs from that of another period: parts that sum to the difference, biggest first.

    Without `against` it is compared with the period before it that has usage.
    """
    require_bills(request, caller, customer, app)
    explain = partial(explain_change, customer=customer, app=app, period=period, against=against)
    try:
        explained = await ask(request, explain)
    except NoStatementError as error:
        raise no_statement(caller, error) from None
    return json_answer(shown(caller, explained.as_dict()))


def _no_line(caller: Caller, told: str) -> Problem:
    """Say that there is no such line; only an operator is told which there are."""
    plain = "There is no such line that this key may read."
    return Problem(404, "no-line", f"{told}." if caller.principal.scope == "operator" else plain)

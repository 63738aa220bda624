"""`GET /v1/margin/{month}`: which customers cost more than they bring."""

from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipeline.api import report_schemas
from pipeline.api.guard import Authenticated
from pipeline.api.payout_routes import builder_asked
from pipeline.api.reports import MonthPath, OptionalId, ask, json_answer
from pipeline.billing.margin import read_margin_risk

router = APIRouter(tags=["earnings"])


@router.get("/margin/{month}", response_class=Response, **report_schemas.GET_MARGIN)
async def get_margin(request: Request, month: MonthPath, caller: Authenticated, builder: OptionalId = None) -> Response:
    """Return which customers cost more than they bring in a month; a builder's key gets those of its apps."""
    whose = builder_asked(request, caller, builder)
    read = partial(read_margin_risk, catalog=request.app.state.catalog, month=month, builder=whose)
    return json_answer((await ask(request, read)).as_dict())

"""`GET /v1/usage/daily`: usage by day and whatever else is asked for."""

from datetime import date
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pipeline.access import sight_of
from pipeline.api import report_schemas
from pipeline.api.guard import Authenticated
from pipeline.api.problems import Problem
from pipeline.api.reports import DayQuery, OptionalId, ask, json_answer, require_bills, shown
from pipeline.billing.daily import read_daily

DAYS_MAX = 400
ROWS_MAX = 50_000
DIMENSIONS = (
    "customer",
    "app",
    "deployment",
    "environment",
    "workspace",
    "feature",
    "model",
    "class",
    "unit",
    "kind",
    "day",
    "provider",
)
"""What rows can be told apart by; provider for operators only."""

_BY = r"^({0})(,({0}))*$".format("|".join(DIMENSIONS))

router = APIRouter(tags=["usage"])


@router.get("/usage/daily", response_class=Response, **report_schemas.GET_DAILY)
async def get_daily(
    request: Request,
    caller: Authenticated,
    since: DayQuery,
    until: DayQuery,
    by: Annotated[str, Query(pattern=_BY, max_length=200, description="by what rows are told apart")] = "day",
    customer: OptionalId = None,
    app: OptionalId = None,
) -> Response:
    """Return usage that was posted on the days from `since` up to `until`, which is not included (UTC).

    A customer's key sees its own, a builder's that of its apps, an operator's all.
    """
    require_bills(request, caller, customer, app)
    first, last, names = _day("since", since), _day("until", until), list(dict.fromkeys(by.split(",")))
    if not 0 < (last - first).days <= DAYS_MAX:
        raise Problem(422, "invalid-field", f"until: from since to until are 1 to {DAYS_MAX} days.")
    if "provider" in names and caller.principal.scope != "operator":
        raise Problem(403, "forbidden", f"a key of scope {caller.principal.scope} may not read usage by provider.")
    sight = sight_of(caller.principal, request.app.state.catalog)
    apps = sight.apps if app is None else frozenset({app})
    of = customer or sight.customer
    rows = await ask(request, partial(read_daily, customer=of, apps=apps, since=first, until=last, by=names))
    if len(rows) > ROWS_MAX:
        raise Problem(
            422, "too-many-rows", f"These are {len(rows)} rows, at most {ROWS_MAX} are answered: ask for less."
        )
    answer: dict[str, Any] = {"since": since, "until": until, "by": names, "rows": [row.as_dict() for row in rows]}
    return json_answer(shown(caller, answer))


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Problem(422, "invalid-field", f"{name}: there is no such day.") from None

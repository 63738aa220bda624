"""What the report routes share: parameters, who may see what of an answer, and how it is written."""

import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from clickhouse_connect.driver.client import Client
from fastapi import Path, Query, Request
from fastapi.responses import Response
from pydantic import Field

from pipeline.access import Action, sees_costs
from pipeline.api.clickhouse import ClickHouse
from pipeline.api.customer_views import without_costs
from pipeline.api.guard import Caller
from pipeline.api.problems import Problem, try_again_later
from pipeline.billing import NoStatementError
from pipeline.billing.sums import RollupMovingError
from pipeline.domain.catalog import Catalog
from pipeline.domain.events import STRING_MAX

SEQ_MAX = 2**63 - 1

T = TypeVar("T")

_ID: dict[str, Any] = {"min_length": 1, "max_length": STRING_MAX, "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"}
_PERIOD = r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$"
_DAY = r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"

CustomerPath = Annotated[str, Path(**_ID)]
AppPath = Annotated[str, Path(**_ID)]
PeriodPath = Annotated[str, Path(pattern=_PERIOD, description="the period's first day, such as 2026-11-01")]
MonthPath = Annotated[str, Path(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$", description="such as 2026-11")]
IdQuery = Annotated[str, Query(**_ID)]
OptionalText = Annotated[str | None, Field(**_ID)]
OptionalId = Annotated[str | None, Query(**_ID)]
PeriodQuery = Annotated[str, Query(pattern=_PERIOD, description="the period's first day")]
OptionalPeriod = Annotated[str | None, Query(pattern=_PERIOD, description="the period's first day")]
DayQuery = Annotated[str, Query(pattern=_DAY, description="such as 2026-11-03")]


def require_bills(request: Request, caller: Caller, customer: str | None, app: str | None) -> None:
    """Raise Problem unless the caller may read these bills; who may not is not told whether they exist."""
    caller.require(Action.READ_BILLS, customer, app=app)
    catalog: Catalog = request.app.state.catalog
    if customer is not None and customer not in catalog.customers:  # an operator asks
        raise Problem(404, "unknown-customer", f"Customer {customer!r} is not in the catalog.")


async def ask(request: Request, question: Callable[[Client], T]) -> T:
    """Return what a question finds out from ClickHouse. Raises Problem (503), and what the question raises."""
    clickhouse: ClickHouse = request.app.state.clickhouse
    try:
        return await clickhouse.ask(question)
    except RollupMovingError as error:
        raise try_again_later(503, "clickhouse-away", f"{error}.") from None


def no_statement(caller: Caller, error: NoStatementError) -> Problem:
    """Say that there is no such statement; only an operator is told what there is instead."""
    told = f"{error}." if caller.principal.scope == "operator" else "There is no such statement that this key may read."
    return Problem(404, "no-statement", told)


def shown(caller: Caller, value: Any) -> Any:
    """Return a report as the caller may see it: a customer's without what of its charges is cost and margin."""
    return value if sees_costs(caller.principal) else without_costs(value)


def json_answer(value: Any) -> Response:
    """Return an answer in JSON; amounts may be wider than 64 bits."""
    return Response(json.dumps(value, ensure_ascii=False).encode(), media_type="application/json")


def catalogs_of(request: Request) -> Callable[[str], Catalog]:
    """Return what finds the catalog of a line by its digest; lines from before versions have that of now."""
    state = request.app.state
    now: Catalog = state.catalog

    def catalog_of(digest: str) -> Catalog:
        found: Catalog = now if digest in ("", now.digest) else state.versions.versions.catalog(digest)
        return found

    return catalog_of

"""Statements over HTTP: which there are, what is in one, the lines below a figure, and one as a file."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from pipeline.access import sight_of
from pipeline.api import report_schemas
from pipeline.api.guard import Authenticated
from pipeline.api.problems import Problem
from pipeline.api.reports import (
    SEQ_MAX,
    AppPath,
    CustomerPath,
    OptionalId,
    OptionalPeriod,
    OptionalText,
    PeriodPath,
    ask,
    json_answer,
    no_statement,
    require_bills,
    shown,
)
from pipeline.billing import NoStatementError, read_statement
from pipeline.billing.exports import FORMS, CurrencyError, TooManyChargesError, export_statement, file_name
from pipeline.billing.single_lines import LIMIT_MAX, read_lines_of
from pipeline.billing.statement_list import list_statements

Detail = Annotated[
    Literal["workspace", "deployment", "environment", "model"] | None,
    Query(description="show each row's parts, with their tokens"),
]
FormName = Annotated[Literal["csv", "json", "html", "focus", "invoice-items"], Query(alias="format")]

router = APIRouter(tags=["statements"])


class LineFilter(BaseModel):
    """Which lines of a statement are asked for."""

    feature: OptionalText = None
    unit: OptionalText = None
    workspace: OptionalText = None
    deployment: OptionalText = None
    environment: OptionalText = None
    model: OptionalText = None
    kind: OptionalText = None
    after_seq: int = Field(0, ge=0, le=SEQ_MAX, description="only lines beyond this number")
    limit: int = Field(100, ge=1, le=LIMIT_MAX)

    def named(self) -> dict[str, str]:
        """Return the values that lines must have, by the name of the column."""
        given = self.model_dump(exclude={"after_seq", "limit"}, exclude_none=True)
        return {name: str(value) for name, value in given.items()}


@router.get("/statements", response_class=Response, **report_schemas.GET_STATEMENTS)
async def get_statements(
    request: Request,
    caller: Authenticated,
    customer: OptionalId = None,
    app: OptionalId = None,
    period: OptionalPeriod = None,
) -> Response:
    """List statements: a customer's key sees its own, a builder's those of its apps, an operator's all."""
    require_bills(request, caller, customer, app)
    catalog = request.app.state.catalog
    sight = sight_of(caller.principal, catalog)
    apps = sight.apps if app is None else frozenset({app})
    list_ = partial(list_statements, customer=customer or sight.customer, apps=apps, period=period, catalog=catalog)
    return json_answer({"statements": [each.as_dict() for each in await ask(request, list_)]})


@router.get("/statements/{customer}/{app}/{period}", response_class=Response, **report_schemas.GET_STATEMENT)
async def get_statement(
    request: Request,
    customer: CustomerPath,
    app: AppPath,
    period: PeriodPath,
    caller: Authenticated,
    detail: Detail = None,
) -> Response:
    """Return a statement, as `usage statement --format json` prints it."""
    require_bills(request, caller, customer, app)
    read = partial(
        read_statement,
        customer=customer,
        app=app,
        period=period,
        dimension=detail,
        catalog=request.app.state.catalog,
    )
    try:
        statement = await ask(request, read)
    except NoStatementError as error:
        raise no_statement(caller, error) from None
    return json_answer(statement.as_dict())


@router.get("/statements/{customer}/{app}/{period}/lines", response_class=Response, **report_schemas.GET_LINES)
async def get_lines(
    request: Request,
    customer: CustomerPath,
    app: AppPath,
    period: PeriodPath,
    caller: Authenticated,
    where: Annotated[LineFilter, Query()],
) -> Response:
    """Return the lines that a figure of a statement is the sum of, by their numbers.

    Filters narrow them to a row or a part. `next_after_seq` is where the next page goes on, null on the last one.
    """
    require_bills(request, caller, customer, app)
    read = partial(
        read_lines_of,
        customer=customer,
        app=app,
        period=period,
        where=where.named(),
        after_seq=where.after_seq,
        limit=where.limit,
    )
    lines = await ask(request, read)
    more = len(lines) == where.limit
    page = {"lines": shown(caller, lines), "next_after_seq": lines[-1]["seq"] if more else None}
    return json_answer(page)


@router.get("/statements/{customer}/{app}/{period}/export", response_class=Response, **report_schemas.GET_EXPORT)
async def get_export(
    request: Request,
    customer: CustomerPath,
    app: AppPath,
    period: PeriodPath,
    caller: Authenticated,
    form: FormName,
    detail: Detail = None,
) -> Response:
    """Return a statement as a file (docs/exports.md). It holds what the customer may see, whoever asks."""
    require_bills(request, caller, customer, app)
    state = request.app.state
    write = partial(
        export_statement,
        catalog=state.catalog,
        customer=customer,
        app=app,
        period=period,
        form=form,
        dimension=detail,
        issuer=state.settings.invoice_issuer,
    )
    try:
        content = await ask(request, write)
    except NoStatementError as error:
        raise no_statement(caller, error) from None
    except (CurrencyError, TooManyChargesError) as error:
        raise Problem(422, "not-exportable", f"{error}.") from None
    headers = {"Content-Disposition": f'attachment; filename="{file_name(customer, app, period, form)}"'}
    return Response(content, headers=headers, media_type=FORMS[form].media_type)

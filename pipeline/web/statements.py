"""A statement, the lines below its figures, and why: each figure can be followed down to lines."""

import time
from functools import partial
from typing import Annotated, Any

from clickhouse_connect.driver.client import Client
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pipeline.access import Action, readable_apps, sees_costs
from pipeline.api.customer_views import line_for_customer, without_costs
from pipeline.api.reports import catalogs_of
from pipeline.billing.explain_change import explain_change
from pipeline.billing.explain_line import NoLineError, explain_line
from pipeline.billing.exports import FORMS, CurrencyError, TooManyChargesError, export_statement, file_name
from pipeline.billing.single_lines import FILTERS, read_lines_of
from pipeline.billing.statement import NoStatementError, read_statement
from pipeline.billing.statement_list import list_statements
from pipeline.domain.changes import ChangeExplanation
from pipeline.domain.statements import DIMENSIONS
from pipeline.published import UnknownVersionError
from pipeline.web.charts import Bar, bars
from pipeline.web.pages import PageError, Signed, not_found
from pipeline.web.words import signed

router = APIRouter(include_in_schema=False)

PAGE_LINES = 50
_BARS_MAX = 8
_Text = Annotated[str, Query(max_length=128)]
_Form = Annotated[str, Query(alias="format", max_length=20)]


@router.get("/ui/customers/{customer}/{app}/{period}")
async def get_statement(customer: str, app: str, period: str, who: Signed, by: _Text = "workspace") -> Response:
    """Show a statement with its parts by workspace, deployment, environment or model, and why it changed."""
    who.require(Action.READ_BILLS, customer=customer, app=app)
    if by not in DIMENSIONS:
        raise not_found()
    catalog, now_us = who.catalog, time.time_ns() // 1000

    def read(client: Client) -> dict[str, Any]:
        statement = read_statement(client, customer, app, period, by, catalog=catalog, now_us=now_us)
        periods = [each.period for each in list_statements(client, customer, [app]) if each.period < period]
        change = explain_change(client, customer, app, period, periods[0]) if periods else None
        return {"statement": statement, "change": change}

    try:
        found = await who.ask(read)
    except NoStatementError:
        raise not_found() from None
    change: ChangeExplanation | None = found["change"]
    sentences = [] if change is None else change.as_dict()["sentences"]
    return who.render(
        "statement.html",
        title=f"{app} {period}",
        customer=customer,
        name=catalog.customers.get(customer, customer),
        app=app,
        period=period,
        by=by,
        dimensions=DIMENSIONS,
        forms=[form for form in FORMS if form != "json"],
        sentences=sentences,
        change_chart=bars(
            "What changed the bill, biggest first",
            [
                Bar(str(number), each["cents"], f"{signed(each['cents'])}: {each['text']}", strong=each["cents"] < 0)
                for number, each in enumerate(sentences[:_BARS_MAX], start=1)
            ],
        ),
        **found,
    )


@router.get("/ui/customers/{customer}/{app}/{period}/export")
async def get_export(customer: str, app: str, period: str, who: Signed, form: _Form = "html") -> Response:
    """Give a statement as a file."""
    who.require(Action.READ_BILLS, customer=customer, app=app)
    if form not in FORMS:
        raise not_found()
    write = partial(
        export_statement,
        catalog=who.catalog,
        customer=customer,
        app=app,
        period=period,
        form=form,
        dimension=None,
        issuer=who.request.app.state.settings.invoice_issuer,
    )
    try:
        content = await who.ask(write)
    except NoStatementError:
        raise not_found() from None
    except (CurrencyError, TooManyChargesError) as error:
        raise PageError(422, "This cannot be exported", f"{error}.") from None
    headers = {"Content-Disposition": f'attachment; filename="{file_name(customer, app, period, form)}"'}
    return Response(content, headers=headers, media_type=FORMS[form].media_type)


@router.get("/ui/customers/{customer}/{app}/{period}/lines")
async def get_lines(
    request: Request,
    customer: str,
    app: str,
    period: str,
    who: Signed,
    after: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
) -> Response:
    """Show the single lines that a figure is the sum of."""
    who.require(Action.READ_BILLS, customer=customer, app=app)
    where = {name: request.query_params[name] for name in FILTERS if name in request.query_params}

    def read(client: Client) -> list[dict[str, Any]]:
        return read_lines_of(client, customer, app, period, where, after, PAGE_LINES + 1)

    try:
        lines = await who.ask(read)
    except ValueError:
        raise not_found() from None
    return who.render(
        "lines.html",
        title="Lines",
        customer=customer,
        name=who.catalog.customers.get(customer, customer),
        app=app,
        period=period,
        where=where,
        lines=lines[:PAGE_LINES],
        next_after=lines[PAGE_LINES - 1]["seq"] if len(lines) > PAGE_LINES else None,
    )


@router.get("/ui/lines/{customer}/{seq}")
async def get_line(request: Request, customer: str, seq: int, who: Signed) -> Response:
    """Show why a line costs what it does."""
    who.require(Action.READ_BILLS, customer=customer)
    try:
        explained = await who.ask(partial(explain_line, catalog_of=catalogs_of(request), customer=customer, seq=seq))
    except (NoLineError, OverflowError):
        raise not_found() from None
    except UnknownVersionError as error:
        raise PageError(409, "This line cannot be explained", f"{error}.") from None
    apps = readable_apps(who.principal, who.catalog)
    if apps is not None and explained.line.app not in apps:
        raise not_found()
    shown = explained.as_dict() if sees_costs(who.principal) else without_costs(line_for_customer(explained))
    return who.render("line.html", title=f"Line {seq}", customer=customer, seq=seq, shown=shown, line=explained.line)

"""A customer's month: what was used, what is included and left, what it costs and will cost."""

import time
from datetime import date, timedelta
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client
from fastapi import APIRouter
from fastapi.responses import Response
from markupsafe import Markup

from pipeline.access import Action, readable_apps
from pipeline.billing.daily import DailyRow, read_daily
from pipeline.billing.statement import NoStatementError, read_statement
from pipeline.billing.statement_list import list_statements
from pipeline.domain.catalog import Catalog, Plan
from pipeline.domain.instants import DAY_US, MILLISECOND_US, day_of
from pipeline.domain.periods import Period, period_at
from pipeline.domain.quota import QuotaRecord
from pipeline.domain.statements import Statement
from pipeline.web.charts import Bar, bars
from pipeline.web.forecast import forecast
from pipeline.web.pages import Signed
from pipeline.web.words import money

router = APIRouter(include_in_schema=False)

_SHARE_NEAR = 80
"""Percent of a limit from which on it is pointed out."""


class Limit(NamedTuple):
    """An allowance or budget of the plan, and how much of it is used."""

    name: str
    used: int
    limit: int
    is_money: bool = False

    @property
    def left(self) -> int:
        """Return what is left, 0 when more than all is used."""
        return max(0, self.limit - self.used)

    @property
    def share(self) -> int:
        """Return the used share in percent, at most 100."""
        return min(100, self.used * 100 // self.limit) if self.limit else 0

    @property
    def is_near(self) -> bool:
        """Return whether it is nearly or wholly used up."""
        return bool(self.limit) and self.used * 100 >= self.limit * _SHARE_NEAR


class AppMonth(NamedTuple):
    """What one app shows of the present period."""

    app: str
    plan: Plan
    period: Period
    statement: Statement | None
    total_cents: int
    forecast_cents: int | None
    allowances: list[Limit]
    budgets: list[Limit]
    chart: Markup
    places: list[DailyRow]
    premium: tuple[int, int]
    """Calls of premium models, and all calls."""


@router.get("/ui/customers/{customer}")
async def get_customer(customer: str, who: Signed) -> Response:
    """Show a customer's present month, app by app, and all statements."""
    who.require(Action.READ_BILLS, customer=customer)
    catalog, now_us = who.catalog, time.time_ns() // 1000
    apps = readable_apps(who.principal, catalog)
    record: QuotaRecord = who.request.app.state.board.record(customer)

    def read(client: Client) -> dict[str, Any]:
        statements = list_statements(client, customer, apps, catalog=catalog, now_us=now_us)
        months = [
            _month(client, catalog, customer, app, record, now_us)
            for of_customer, app in sorted(catalog.subscriptions)
            if of_customer == customer and (apps is None or app in apps) and catalog.plan_at(customer, app, now_us)
        ]
        return {"statements": statements, "months": months}

    found = await who.ask(read)
    near = [limit for month in found["months"] for limit in (*month.allowances, *month.budgets) if limit.is_near]
    wallet = record.wallet_pico if record.wallet_pico or _is_prepaid(found["months"]) else None
    name = catalog.customers.get(customer, customer)
    return who.render(
        "customer.html",
        title=name,
        customer=customer,
        name=name,
        near=near,
        wallet_pico=wallet,
        grants=record.grants,
        **found,
    )


def _is_prepaid(months: list[AppMonth]) -> bool:
    return any("prepaid" in month.plan.overage.values() for month in months)


def _month(client: Client, catalog: Catalog, customer: str, app: str, record: QuotaRecord, now_us: int) -> AppMonth:
    plan = catalog.plan_at(customer, app, now_us)
    assert plan is not None
    period = period_at(now_us, plan.anchor_day)
    try:
        statement = read_statement(client, customer, app, period.name, catalog=catalog, now_us=now_us)
    except NoStatementError:
        statement = None
    first, end = day_of(period.start_us // DAY_US), day_of(period.end_us // DAY_US)
    span: dict[str, Any] = {"customer": customer, "apps": [app], "since": first, "until": end}
    classes = {row["class"]: int(row["lines"]) for row in read_daily(client, **span, by=("class",))}
    total = 0 if statement is None else statement.total_cents
    return AppMonth(
        app=app,
        plan=plan,
        period=period,
        statement=statement,
        total_cents=total,
        forecast_cents=forecast(total, period, now_us),
        allowances=_allowances(plan, period, record),
        budgets=_budgets(plan, period, record),
        chart=_daily_chart(app, first, min(end, day_of(now_us // DAY_US) + timedelta(days=1)), client, customer),
        places=read_daily(client, **span, by=("workspace", "feature", "unit")),
        premium=(classes.get("premium", 0), sum(classes.values())),
    )


def _daily_chart(app: str, first: date, end: date, client: Client, customer: str) -> Markup:
    rows = read_daily(client, customer=customer, apps=[app], since=first, until=end, by=("day",))
    charges = {row["day"]: row["charge_pico"] for row in rows}
    days = [first + timedelta(days=number) for number in range((end - first).days)]
    data = [Bar(str(day.day), charges.get(day, 0), f"{day:%d %B}: {money(charges.get(day, 0))}") for day in days]
    return bars(f"Charges a day, {app}", data, labels_every=5)


def _allowances(plan: Plan, period: Period, record: QuotaRecord) -> list[Limit]:
    """Return the allowances of a period; those kept per day or hour are no matter of a month.

    None when the record has gone on to a later period: it does not say any more what was used.
    """
    if record.watermark_ms * MILLISECOND_US >= period.end_us:
        return []
    used: dict[tuple[str, str], int] = {}
    for account in record.accounts:
        if (account.plan, account.plan_version, account.period) == (plan.id, plan.version, period.name):
            for window in account.windows:
                for pool in window.pools:
                    used[pool.id, pool.scope_value] = pool.used
    limits = []
    for allowance in plan.allowances:
        if allowance.per != "period":
            continue
        places = [scope_value for name, scope_value in used if name == allowance.id] or [""]
        for place in sorted(places):
            name = f"{allowance.id} ({place})" if place else allowance.id
            limits.append(Limit(name, used.get((allowance.id, place), 0), allowance.included))
    return limits


def _budgets(plan: Plan, period: Period, record: QuotaRecord) -> list[Limit]:
    limits = []
    known = {budget.id: budget for budget in plan.budgets if budget.per == "period"}
    for account in record.accounts:
        if (account.plan, account.plan_version, account.period) != (plan.id, plan.version, period.name):
            continue
        for spent in [each for window in account.windows for each in window.budgets if each.id in known]:
            budget = known[spent.id]
            name = f"{spent.id} ({spent.scope_value})" if spent.scope_value else spent.id
            if budget.quantity is None:
                limits.append(Limit(name, spent.charge_pico, budget.amount_pico or 0, is_money=True))
            else:
                limits.append(Limit(name, spent.units, budget.quantity))
    return limits

"""Alerts in the customer's words (R6.10): the same alert and catalog always give the same sentence."""

from collections.abc import Iterator
from datetime import date

from pipeline.domain.alerts import Alert
from pipeline.domain.catalog import Allowance, Budget, Catalog, Match, Plan
from pipeline.domain.instants import DAY_US, day_of, day_start_us
from pipeline.domain.money import PICO
from pipeline.domain.periods import Period, period_at
from pipeline.domain.words import count_of

_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OFTEN = {"period": "", "day": "daily ", "hour": "hourly "}


def sentence_of(alert: Alert, catalog: Catalog | None) -> str:
    """Return what an alert says.

    Where the catalog does not tell which pool or budget is meant (another app of the customer has one of that name, or
    the plan is gone), the sentence names no limit rather than a wrong one.
    """
    if catalog is not None:
        name = catalog.customers.get(alert.customer, alert.customer)
        said = {
            _pool_sentence(alert, name, plan, limits)
            if isinstance(limits, Allowance)
            else _budget_sentence(alert, name, plan, limits, catalog.currency)
            for plan, limits in limits_of(alert, catalog)
        }
        if len(said) == 1:
            return printable(said.pop())
    else:
        name = alert.customer
    scope = f" ({alert.scope_value})" if alert.scope_value else ""
    since = _day(date.fromisoformat(alert.period))
    return printable(f"{name}{scope} has reached {alert.threshold} % of {alert.id} in the period that began {since}")


def builders_of(alert: Alert, catalog: Catalog | None) -> dict[str, str]:
    """Return the app whose pool or budget is meant, to its builder: several when the catalog leaves that open."""
    if catalog is None:
        return {}
    apps = {plan.app for plan, _ in limits_of(alert, catalog)}
    return {app: catalog.apps[app].builder for app in sorted(apps)}


def limits_of(alert: Alert, catalog: Catalog) -> Iterator[tuple[Plan, Allowance | Budget]]:
    """Yield the pools and budgets that an alert can mean, with their plans: those in force in its period."""
    for app in catalog.apps:
        for subscription in catalog.subscriptions.get((alert.customer, app), ()):
            plan = subscription.plan
            period = _period(alert, plan)
            if (
                period.name == alert.period
                and subscription.start_us < period.end_us
                and (subscription.end_us is None or subscription.end_us > period.start_us)
            ):
                limits: list[Allowance | Budget] = [*plan.allowances, *plan.budgets]
                yield from ((plan, each) for each in limits if _is_meant(alert, each, app, catalog))


def _is_meant(alert: Alert, limits: Allowance | Budget, app: str, catalog: Catalog) -> bool:
    if limits.id != alert.id or alert.threshold not in limits.alerts:
        return False
    if limits.scope == "deployment":
        deployment = catalog.deployments.get(alert.scope_value)
        return deployment is not None and deployment.app == app
    return (limits.scope == "workspace") == bool(alert.scope_value)


def _pool_sentence(alert: Alert, name: str, plan: Plan, pool: Allowance) -> str:
    often = "" if pool.per == "period" else f" per {pool.per}"
    part = "up" if alert.threshold == 100 else f"{alert.threshold} % of"
    what = f"the {_amount_of(pool)} included{often} in plan {plan.id}"
    return f"{_whose(alert, name, pool)} has used {part} {what}{_until(alert, plan, pool)}"


def _amount_of(pool: Allowance) -> str:
    """Return how much a pool includes, such as "200 documents (legal-docs)"."""
    unit = "credit" if pool.credits is not None else _unit(pool.match)
    text = count_of(pool.included, unit)
    return text if text.split()[-1] == pool.id else f"{text} ({pool.id})"


def _budget_sentence(alert: Alert, name: str, plan: Plan, budget: Budget, currency: str) -> str:
    often = _OFTEN[budget.per]
    if budget.amount_pico is not None:
        limit = f"{_money(currency, budget.amount_pico * 100)} budget {budget.id}"
        spent = _money(currency, budget.amount_pico * alert.threshold)
        if alert.threshold <= 100:
            said = f"has spent {'all' if alert.threshold == 100 else spent} of its {often}{limit}"
        else:
            said = f"has spent {spent}, more than its {often}{limit}"
    else:
        quantity = budget.quantity or 0
        reached = -(-quantity * alert.threshold // 100)
        used = f"all {quantity:,}" if alert.threshold == 100 else f"{reached:,} of the {quantity:,}"
        if alert.threshold > 100:
            used = f"{reached:,}, more than the {quantity:,}"
        unit = count_of(quantity, _unit(budget.match)).split(maxsplit=1)[1]
        said = f"has used {used} {unit} of its {often}budget {budget.id}"
    blocked = "; further paid use is blocked" if budget.blocks and alert.threshold >= 100 else ""
    return f"{_whose(alert, name, budget)} {said}{_until(alert, plan, budget)}{blocked}"


def _whose(alert: Alert, name: str, limits: Allowance | Budget) -> str:
    return name if limits.scope == "customer" else f"{limits.scope.capitalize()} {alert.scope_value} of {name}"


def _until(alert: Alert, plan: Plan, limits: Allowance | Budget) -> str:
    """Return when a period's limit begins afresh; an alert does not say which day or hour it is of."""
    if limits.per != "period":
        return ""
    return f" this period (until {_day(day_of(_period(alert, plan).end_us // DAY_US))})"


def _period(alert: Alert, plan: Plan) -> Period:
    return period_at(day_start_us(alert.period), plan.anchor_day)


def _unit(match: Match) -> str:
    units = match.get("unit", frozenset())
    return next(iter(units)) if len(units) == 1 else "unit"


def _day(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _money(currency: str, percent_pico: int) -> str:
    """Return an amount of 10^-14 of the currency with all the decimals it has, two at least, such as "$1,040.00"."""
    whole, fraction = divmod(percent_pico, PICO * 100)
    decimals = f"{fraction:014d}".rstrip("0").ljust(2, "0")
    return f"{_SIGNS.get(currency, f'{currency} ')}{whole:,}.{decimals}"


def printable(text: str) -> str:
    """Return text without what would steer a terminal or turn its direction; names come from senders."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)

"""Random catalogs for tests: small worlds in which every feature of SPEC.md section 4 turns up often."""

from datetime import date, timedelta
from random import Random
from typing import Any

UNITS = ["document", "ticket", "answer", "page", "report"]
WORKSPACES = ["legal", "ops", "büro", "r&d"]
FEATURES = ["kb-answer", "rewrite", "contract-extraction"]
MODELS = ["gpt-5-mini", "gpt-5", "llama-70b"]
ENVIRONMENTS = ["production", "staging"]
CUSTOMERS = ["acme", "bürger & co", "cust-3", "cust-10"]
PERCENTS = ["0", "5", "25", "50", "33.333333", "12.5", "0.000001", "7.0001", "250"]
PRICES = ["0", "0.10", "0.02", "0.005", "1.5", "0.000000000001", "0.333333333333", "1000000"]
LIMITS = [0, 1, 2, 3, 5, 20, 400, 10**12]
AMOUNTS = ["0", "0.000000000001", "0.05", "1.00", "4.5", "20.00", "1000"]


def make_catalog(rng: Random, start: date) -> dict[str, Any]:
    """Return a valid catalog whose subscriptions change in the weeks after `start`."""
    plans = [make_plan(rng, app, name, version) for app in APPS for name in ("free", "team") for version in (1, 2, 3)]
    catalog: dict[str, Any] = {
        "currency": "USD",
        "platform_fee_percent": "5",
        "models": [make_model(rng, name) for name in MODELS],
        "builders": [{"id": "northwind", "name": "Northwind Ltd"}, {"id": "contoso", "name": "Contoso"}],
        "apps": [{"id": app, "builder": builder} for app, builder in APPS.items()],
        "customers": [{"id": name, "name": name.title()} for name in [*CUSTOMERS, "idle"]],
        "deployments": make_deployments(rng),
        "plans": plans,
    }
    catalog["subscriptions"] = make_subscriptions(rng, start)
    catalog["migrations"] = make_migrations(rng, start)
    return catalog


APPS = {"helpdesk": "northwind", "docflow": "contoso"}


def make_model(rng: Random, name: str) -> dict[str, Any]:
    """Return a model with prices of up to 6 decimals per million tokens."""
    prices = {key: f"{rng.randint(0, 9)}.{rng.randint(0, 999_999):06}" for key in ("input", "cached_input", "output")}
    if rng.random() < 0.1:
        prices["output"] = "75"
    return {"id": name, "provider": f"p-{name[:3]}", "class": "premium" if name == "gpt-5" else "standard", **prices}


def make_deployments(rng: Random) -> list[dict[str, Any]]:
    """Return one or two deployments for each customer and app, some of them air-gapped."""
    rows = []
    for customer in CUSTOMERS:
        for app in APPS:
            for number in range(rng.choice([1, 2, 2])):
                row = {"id": f"dep-{CUSTOMERS.index(customer)}-{app}-{number}", "customer": customer, "app": app}
                if rng.random() < 0.1:
                    row["connectivity"] = "air_gapped"
                elif rng.random() < 0.3:
                    row["connectivity"] = "connected"
                rows.append(row)
    return rows


def make_match(rng: Random) -> dict[str, list[str]]:
    """Return a match that most often lets something through."""
    keys: dict[str, list[str]] = {
        "unit": UNITS,
        "workspace": WORKSPACES,
        "feature": FEATURES,
        "model": [*MODELS, "no-such-model"],
        "class": ["standard", "premium"],
        "deployment": [f"dep-{number}-{app}-0" for number in range(len(CUSTOMERS)) for app in APPS],
        "environment": ENVIRONMENTS,
    }
    chosen = rng.sample(sorted(keys), rng.choice([0, 0, 0, 1, 1, 2, 3]))
    return {key: rng.sample(keys[key], rng.randint(max(1, len(keys[key]) // 2), len(keys[key]))) for key in chosen}


def place(rng: Random, row: dict[str, Any], *, allowance: bool) -> dict[str, Any]:
    """Give an allowance or budget its match, scope, window and alerts; defaults are left out or written."""
    if rng.random() < 0.8:
        row["match"] = make_match(rng)
    if rng.random() < 0.7:
        row["scope"] = rng.choice(["customer", "deployment", "workspace"])
    if rng.random() < 0.5:
        row["per"] = rng.choice(["period", "day", "hour"])
    if rng.random() < 0.4:
        row["alerts"] = rng.choice([[], [50, 80, 100], [10, 90], [100, 50], [1], [33, 66, 150]])
    if allowance and rng.random() < 0.4:
        row["credits"] = {unit: rng.choice([1, 1, 2, 3, 7, 1000]) for unit in rng.sample(UNITS, rng.randint(1, 5))}
    return row


def make_plan(rng: Random, app: str, name: str, version: int) -> dict[str, Any]:
    """Return one plan version."""
    plan: dict[str, Any] = {"id": f"{app}-{name}", "version": version, "app": app}
    if rng.random() < 0.9:
        plan["anchor_day"] = rng.choice([1, 1, 2, 15, 27, 28])
    if rng.random() < 0.9:
        plan["grace_hours"] = rng.choice([0, 0, 1, 24, 72])
    if rng.random() < 0.4:
        plan["environments"] = rng.choice([["production"], ["production", "staging"]])
    plan["allowances"] = [
        place(rng, {"id": f"a{number}", "included": rng.choice(LIMITS)}, allowance=True)
        for number in range(rng.choice([0, 1, 2, 2, 3]))
    ]
    overage: dict[str, str] = {}
    if rng.random() < 0.85:
        overage["default"] = rng.choice(["invoice", "invoice", "prepaid", "block"])
    for unit in rng.sample(UNITS, rng.choice([0, 1, 2])):
        overage[unit] = rng.choice(["invoice", "prepaid", "block"])
    if overage or rng.random() < 0.5:
        plan["overage"] = overage
    plan["prices"] = make_prices(rng)
    plan["surcharges"] = [make_surcharge(rng, number) for number in range(rng.choice([0, 0, 1, 2]))]
    plan["budgets"] = [make_budget(rng, number) for number in range(rng.choice([0, 0, 1, 2, 3]))]
    for key in ("failed", "repeats"):
        if rng.random() < 0.8:
            plan[key] = rng.choice(["free", "cost"])
    return plan


def make_prices(rng: Random) -> list[dict[str, Any]]:
    """Return up to three price rows, one in five of them for everything."""
    rows: list[dict[str, Any]] = []
    for _ in range(rng.choice([0, 1, 2, 2, 3])):
        row: dict[str, Any] = {"match": make_match(rng)} if rng.random() < 0.8 else {}
        form = rng.choice(["margin", "price", "tiers", "tiers"])
        if form == "margin":
            row["margin_percent"] = rng.choice(PERCENTS)
        elif form == "price":
            row["price"] = rng.choice(PRICES)
        else:
            tops = sorted(rng.sample([1, 2, 3, 5, 10, 40, 300, 10**9], rng.choice([0, 1, 2, 3])))
            row["tiers"] = [{"up_to": top, "price": rng.choice(PRICES)} for top in tops]
            row["tiers"].append({"price": rng.choice(PRICES)})
        rows.append(row)
    return rows


def make_surcharge(rng: Random, number: int) -> dict[str, Any]:
    """Return a surcharge per unit, in percent of cost, or both."""
    row: dict[str, Any] = {"id": f"s{number}", "match": make_match(rng)}
    form = rng.choice(["unit", "percent", "both"])
    if form != "percent":
        row["per_unit"] = rng.choice(PRICES[:-1])
    if form != "unit":
        row["percent_of_cost"] = rng.choice(PERCENTS)
    return row


def make_budget(rng: Random, number: int) -> dict[str, Any]:
    """Return a budget by amount or by quantity."""
    row: dict[str, Any] = {"id": f"b{number}", "action": rng.choice(["block", "alert"])}
    if rng.random() < 0.5:
        row["quantity"] = rng.choice(LIMITS)
    else:
        row["amount"] = rng.choice(AMOUNTS)
    return place(rng, row, allowance=False)


def some_day(rng: Random, day: date) -> str | date:
    """Write a date as text or leave it a date, as YAML may give either."""
    return day if rng.random() < 0.5 else day.isoformat()


def make_subscriptions(rng: Random, start: date) -> list[dict[str, Any]]:
    """Return subscriptions without overlap, one form for each customer and app."""
    rows = []
    for customer in CUSTOMERS:
        for app in APPS:
            forms = ["whole", "change", "gap"]
            if customer != CUSTOMERS[0]:
                forms += ["whole", "change", "whole", "change", "change", "late", "ended", "none"]
            for begin, end in make_spans(rng, start, rng.choice(forms)):
                plan = f"{app}-{rng.choice(['free', 'team'])}"
                row: dict[str, Any] = {"customer": customer, "plan": plan, "version": rng.choice([1, 1, 2, 3])}
                row["start"] = some_day(rng, begin)
                if end is not None:
                    row["end"] = some_day(rng, end)
                rows.append(row)
    return rows


def make_spans(rng: Random, start: date, form: str) -> list[tuple[date, date | None]]:
    """Return the spans (start, end) of a form: whole, begun late, ended, with a gap, or changed on the way."""
    long_ago, middle = start - timedelta(days=200), start + timedelta(days=rng.randint(2, 40))
    after_gap = middle + timedelta(days=rng.randint(1, 4))
    spans: dict[str, list[tuple[date, date | None]]] = {
        "whole": [(long_ago, None)],
        "change": [(long_ago, middle), (middle, None)],
        "late": [(start + timedelta(days=rng.randint(0, 4)), None)],
        "ended": [(long_ago, middle)],
        "gap": [(long_ago, middle), (after_gap, start + timedelta(days=400))],
        "none": [],
    }
    return spans[form]


def make_migrations(rng: Random, start: date) -> list[dict[str, Any]]:
    """Return migrations, some of them a chain from 1 over 2 to 3."""
    rows = []
    for app in APPS:
        for name in ("free", "team"):
            day = start + timedelta(days=rng.randint(3, 25))
            steps = rng.choice([[], [], [(1, 2)], [(1, 3)], [(1, 2), (2, 3)]])
            for old, new in steps:
                customers = "all" if rng.random() < 0.6 else rng.sample(CUSTOMERS, rng.randint(1, 3))
                row = {"plan": f"{app}-{name}", "from": old, "to": new, "effective": some_day(rng, day)}
                rows.append({**row, "customers": customers, "notice_days": 30})
                day += timedelta(days=rng.randint(1, 10))
    return rows

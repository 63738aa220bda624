"""Catalogs for the load: one of any number of customers, as a file for processes and as an object for this one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.catalog import load_catalog
from pipeline.domain.catalog import Catalog, Deployment, Subscription
from pipeline.domain.instants import day_start_us

HELPDESK_EVERY = 4
"""Every so many customers have a second app."""
_START = "2023-01-01"
_HEAD = """\
currency: USD
platform_fee_percent: "5"
models:
  - {id: gpt-5-mini, provider: openai, class: standard, input: "0.25", cached_input: "0.025", output: "2.00"}
  - {id: gpt-5, provider: openai, class: standard, input: "1.25", cached_input: "0.125", output: "10.00"}
  - {id: claude-haiku-4-5, provider: anthropic, class: standard, input: "1.00", cached_input: "0.10", output: "5.00"}
  - {id: claude-opus-4-5, provider: anthropic, class: premium, input: "5.00", cached_input: "0.50", output: "25.00"}
  - {id: llama-3.3-70b, provider: groq, class: standard, input: "0.59", cached_input: "0.59", output: "0.79"}
builders:
  - {id: northwind, name: Northwind Software Ltd}
apps:
  - {id: docflow, builder: northwind}
  - {id: helpdesk, builder: northwind}
"""
_HELPDESK = """
  - id: helpdesk
    version: 1
    app: helpdesk
    environments: [production]
    allowances:
      - {{id: credits, included: {credits}, credits: {{ticket: 5, answer: 1}}, alerts: [50, 80, 100]}}
      - {{id: daily-answers, per: day, match: {{unit: [answer]}}, included: {answers}, alerts: [100]}}
    prices:
      - match: {{unit: [ticket]}}
        tiers: [{{up_to: 1000, price: "0.12"}}, {{up_to: 10000, price: "0.10"}}, {{price: "0.08"}}]
      - {{margin_percent: "30"}}
"""
_ALLOWANCES = """
    allowances:
      - {{id: legal-documents, scope: workspace, match: {{unit: [document], workspace: [legal]}}, included: {legal}}}
      - {{id: documents, match: {{unit: [document]}}, included: {documents}, alerts: [50, 80, 100]}}
      - {{id: pages, per: day, match: {{unit: [page]}}, included: {pages}}}"""
_BUSINESS = """
  - id: docflow
    version: 1
    app: docflow
    environments: [production]{allowances}
    overage: {{default: invoice}}
    prices:
      - match: {{unit: [document], feature: [contract-extraction]}}
        tiers: [{{up_to: 500, price: "0.45"}}, {{up_to: 5000, price: "0.38"}}, {{price: "0.30"}}]
      - {{match: {{unit: [document]}}, price: "0.15"}}
      - {{margin_percent: "25"}}
    surcharges:
      - {{id: premium, match: {{class: [premium]}}, per_unit: "0.04", percent_of_cost: "10"}}
    budgets:
      - {{id: page-watch, match: {{unit: [page]}}, quantity: 20000, action: alert}}
      - {{id: runaway, scope: deployment, per: hour, amount: "5000.00", action: block}}
"""
_OVERAGE = """
  - id: docflow
    version: 1
    app: docflow{allowances}
    prices:
      - match: {{unit: [document]}}
        tiers: [{{up_to: 50, price: "0.45"}}, {{up_to: 500, price: "0.38"}}, {{up_to: 5000, price: "0.30"}}, {{price: "0.20"}}]
      - match: {{unit: [page]}}
        tiers: [{{up_to: 100, price: "0.05"}}, {{up_to: 1000, price: "0.04"}}, {{price: "0.03"}}]
      - {{margin_percent: "25"}}
    surcharges:
      - {{id: platform, per_unit: "0.01"}}
      - {{id: premium, match: {{class: [premium]}}, per_unit: "0.04", percent_of_cost: "10"}}
"""
_CROSSING = """
  - id: APP
    version: 1
    app: APP
    allowances:
      - {id: hourly, per: hour, included: 1, alerts: [100]}
    prices:
      - {tiers: [TIERS{price: "0.05"}]}
    surcharges:
      - {id: premium, match: {class: [premium]}, per_unit: "0.04", percent_of_cost: "10"}
"""
_NARROW_TIERS = "".join(f'{{up_to: {upper}, price: "0.1"}}, ' for upper in range(3, 183, 3))


def _crossing(app: str) -> str:
    return _CROSSING.replace("APP", app).replace("TIERS", _NARROW_TIERS)


PLANS = {
    "mixed": _BUSINESS.format(allowances=_ALLOWANCES.format(legal=200, documents=300, pages=500))
    + _HELPDESK.format(credits=2000, answers=50),
    "included": _BUSINESS.format(allowances=_ALLOWANCES.format(legal=10**9, documents=10**12, pages=10**12))
    + _HELPDESK.format(credits=10**12, answers=10**12),
    "overage": _OVERAGE.format(allowances=_ALLOWANCES.format(legal=1, documents=1, pages=1))
    + _HELPDESK.format(credits=5, answers=1),
    "crossing": _crossing("docflow") + _crossing("helpdesk"),
}
"""The plans of both apps, as YAML. That of docflow has three allowances, but for `crossing`."""


def customer_name(number: int) -> str:
    """Return the id of a customer."""
    return f"cust-{number:07d}"


def deployments_of(number: int) -> list[tuple[str, str]]:
    """Return a customer's deployments and their apps."""
    found = [(f"dep_{number:07d}_docflow_prod", "docflow")]
    if number % HELPDESK_EVERY == 0:
        found.append((f"dep_{number:07d}_helpdesk_prod", "helpdesk"))
    return found


def write_catalog(path: Path, plan: str, customers: int) -> Path:
    """Write the catalog as YAML and return its path. A process takes about 250 us a customer to load it."""
    with path.open("w") as file:
        file.writelines(_rows(plan, range(customers)))
    return path


def _rows(plan: str, numbers: range) -> Iterator[str]:
    yield f"{_HEAD}plans:{PLANS[plan]}customers:\n"
    for number in numbers:
        yield f"  - {{id: {customer_name(number)}}}\n"
    yield "deployments:\n"
    for number in numbers:
        for deployment, app in deployments_of(number):
            yield f"  - {{id: {deployment}, customer: {customer_name(number)}, app: {app}}}\n"
    yield "subscriptions:\n"
    for number in numbers:
        for _, app in deployments_of(number):
            yield f"  - {{customer: {customer_name(number)}, plan: {app}, version: 1, start: {_START}}}\n"


def build_catalog(plan: str, customers: int) -> Catalog:
    """Return the same catalog, without reading its customers from YAML."""
    with TemporaryDirectory() as folder:
        small = load_catalog(write_catalog(Path(folder) / "catalog.yaml", plan, 1))
    start_us = day_start_us(_START)
    plans = {each.app: each for each in small.plans.values()}
    names, deployments, subscriptions = {}, {}, {}
    for number in range(customers):
        name = customer_name(number)
        names[name] = name
        for deployment, app in deployments_of(number):
            deployments[deployment] = Deployment(deployment, name, app)
            subscriptions[name, app] = (Subscription(name, plans[app], start_us),)
    return replace(small, customers=names, deployments=deployments, subscriptions=subscriptions)

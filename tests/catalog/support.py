"""A good catalog, and ways to break it."""

from pathlib import Path

from pipeline.catalog import Fault, check_catalog

GOOD = """\
currency: USD
platform_fee_percent: "5"
models:
  - {id: gpt-5-mini, provider: openai, class: standard, input: "0.25", cached_input: "0.025", output: "2.00"}
  - {id: opus, provider: anthropic, class: premium, input: "5.00", cached_input: "0.50", output: "25.00"}
builders: [{id: northwind, name: Northwind Ltd}]
apps: [{id: helpdesk, builder: northwind}, {id: docflow, builder: northwind}]
customers: [{id: acme, name: Acme GmbH}, {id: globex, name: Globex}]
deployments:
  - {id: dep_acme_prod, customer: acme, app: helpdesk, connectivity: connected}
  - {id: dep_globex_prod, customer: globex, app: helpdesk}
plans:
  - id: team
    version: 1
    app: helpdesk
    anchor_day: 15
    grace_hours: 24
    environments: [production]
    allowances:
      - {id: legal-docs, scope: workspace, match: {unit: [document], workspace: [legal]}, included: 200}
      - {id: pool, included: 1000, credits: {document: 5, ticket: 1}, alerts: [100, 50, 80]}
      - {id: daily-answers, per: day, match: {unit: [answer]}, included: 50}
    overage: {default: invoice, answer: block}
    prices:
      - {match: {unit: [ticket]}, tiers: [{up_to: 1000, price: "0.10"}, {up_to: 2000, price: "0.09"}, {price: "0.08"}]}
      - {match: {unit: [page]}, price: "0.02"}
      - {margin_percent: "25"}
    surcharges:
      - {id: premium, match: {class: [premium]}, per_unit: "0.05", percent_of_cost: "10"}
    budgets:
      - {id: legal-cap, scope: workspace, match: {workspace: [legal]}, amount: "50.00", action: block}
      - {id: page-cap, match: {unit: [page]}, quantity: 5000, action: alert}
    failed: cost
    repeats: free
  - {id: team, version: 2, app: helpdesk}
  - {id: team, version: 3, app: helpdesk}
  - {id: docs, version: 1, app: docflow}
subscriptions:
  - {customer: acme, plan: team, version: 1, start: 2026-01-01}
  - {customer: globex, plan: team, version: 2, start: 2026-01-01, end: 2026-06-01}
  - {customer: globex, plan: docs, version: 1, start: 2026-01-01}
migrations:
  - {plan: team, from: 1, to: 2, effective: 2027-01-01, customers: all, notice_days: 30}
"""


def edited(*edits: tuple[str, str], text: str = GOOD) -> str:
    """Return the good catalog with each edit made; what an edit replaces must stand in it exactly once."""
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    return text


def write(folder: Path, text: str | bytes, name: str = "catalog.yaml") -> Path:
    """Write a catalog file and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def faults_of(folder: Path, text: str | bytes) -> list[Fault]:
    """Return the faults of a catalog text."""
    return check_catalog(write(folder, text))

"""Alerts in the customer's words."""

import pytest

from pipeline.catalog import load_catalog
from pipeline.domain.alerts import Alert
from pipeline.domain.catalog import Catalog
from pipeline.notify.sentences import builders_of, sentence_of

CATALOG = """
currency: USD
models: []
builders: [{id: northwind, name: Northwind Ltd}, {id: other, name: Other Inc}]
apps: [{id: helpdesk, builder: northwind}, {id: docflow, builder: other}]
customers: [{id: acme, name: Acme GmbH}, {id: "evil", name: "Evil \\u202e\\u2028Ltd"}]
deployments:
  - {id: dep_acme, customer: acme, app: helpdesk}
  - {id: dep_docs, customer: acme, app: docflow}
plans:
  - id: team
    version: 1
    app: helpdesk
    allowances:
      - {id: credits, included: 1000, credits: {document: 5, ticket: 1}}
      - {id: legal-docs, scope: workspace, match: {unit: [document], workspace: [legal]}, included: 200}
      - {id: daily-answers, per: day, match: {unit: [answer]}, included: 50}
      - {id: shared, included: 5}
    budgets:
      - {id: legal-cap, scope: workspace, match: {workspace: [legal]}, amount: "50.00", action: block}
      - {id: page-cap, match: {unit: [page]}, quantity: 5001, action: alert}
      - {id: runaway, scope: deployment, per: hour, amount: "20.125", action: block, alerts: [33, 100]}
      - {id: large, amount: "1000000", action: alert, alerts: [100, 120]}
  - {id: docs, version: 1, app: docflow, anchor_day: 1, allowances: [{id: shared, included: 7}]}
  - {id: docs, version: 2, app: docflow, anchor_day: 1, allowances: [{id: own, included: 7}]}
  - {id: mid, version: 1, app: helpdesk, anchor_day: 15, allowances: [{id: credits, included: 9}]}
subscriptions:
  - {customer: acme, plan: team, version: 1, start: 2026-01-01}
  - {customer: acme, plan: docs, version: 1, start: 2026-01-01, end: 2026-12-01}
  - {customer: acme, plan: docs, version: 2, start: 2026-12-01}
  - {customer: evil, plan: mid, version: 1, start: 2026-01-01}
"""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    path = tmp_path_factory.mktemp("catalog") / "catalog.yaml"
    path.write_text(CATALOG)
    return load_catalog(path)


def alert(name: str, threshold: int = 80, scope_value: str = "", customer: str = "acme", period: str = "2026-11-01"):
    return Alert(customer, period, name, scope_value, threshold, 7)


@pytest.mark.rule("R6.10")
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            alert("credits"),
            "Acme GmbH has used 80 % of the 1,000 credits included in plan team this period (until 1 Dec 2026)",
        ),
        (
            alert("credits", 100),
            "Acme GmbH has used up the 1,000 credits included in plan team this period (until 1 Dec 2026)",
        ),
        (
            alert("legal-docs", scope_value="legal"),
            (
                "Workspace legal of Acme GmbH has used 80 % of the 200 documents (legal-docs) included in plan team this period"
                " (until 1 Dec 2026)"
            ),
        ),
        (
            alert("daily-answers"),
            "Acme GmbH has used 80 % of the 50 answers (daily-answers) included per day in plan team",
        ),
        (
            alert("legal-cap", scope_value="legal"),
            "Workspace legal of Acme GmbH has spent $40.00 of its $50.00 budget legal-cap this period (until 1 Dec 2026)",
        ),
        (
            alert("legal-cap", 100, "legal"),
            (
                "Workspace legal of Acme GmbH has spent all of its $50.00 budget legal-cap this period (until 1 Dec 2026)"
                "; further paid use is blocked"
            ),
        ),
        (
            alert("page-cap"),
            "Acme GmbH has used 4,001 of the 5,001 pages of its budget page-cap this period (until 1 Dec 2026)",
        ),
        (
            alert("runaway", 33, "dep_acme"),
            "Deployment dep_acme of Acme GmbH has spent $6.64125 of its hourly $20.125 budget runaway",
        ),
        (
            alert("large", 120),
            "Acme GmbH has spent $1,200,000.00, more than its $1,000,000.00 budget large this period (until 1 Dec 2026)",
        ),
    ],
)
def test_says_what_is_reached(catalog: Catalog, said: Alert, expected: str) -> None:
    """A sentence names who, how much of what, and until when; amounts are exact."""
    assert sentence_of(said, catalog) == expected


@pytest.mark.parametrize(
    "said",
    [alert("shared"), alert("gone"), alert("credits", period="2026-11-15"), alert("credits", 70), alert("own")],
    ids=["of two apps", "not in the catalog", "another anchor day", "no such threshold", "not yet in force"],
)
def test_names_no_limit_that_is_not_certain(catalog: Catalog, said: Alert) -> None:
    """Where the catalog does not tell which limit is meant, the sentence keeps to what the alert itself says."""
    expected = f"Acme GmbH has reached {said.threshold} % of {said.id} in the period that began"

    assert sentence_of(said, catalog).startswith(expected)


def test_the_app_is_told_by_the_catalog(catalog: Catalog) -> None:
    """The app of a pool, and all apps that it can be of where that is open."""
    assert builders_of(alert("credits"), catalog) == {"helpdesk": "northwind"}
    assert builders_of(alert("shared"), catalog) == {"docflow": "other", "helpdesk": "northwind"}
    assert builders_of(alert("gone"), catalog) == builders_of(alert("credits"), None) == {}


def test_a_sentence_steers_no_terminal(catalog: Catalog) -> None:
    """What would turn the direction of text, or begin a line, does not come through."""
    said = sentence_of(alert("credits", customer="evil", period="2026-11-15"), catalog)

    assert said.isprintable()
    assert said.endswith("(until 15 Dec 2026)")


def test_without_a_catalog_ids_stand_for_names() -> None:
    """Alerts can be told without a catalog."""
    assert sentence_of(alert("credits", scope_value="legal"), None) == (
        "acme (legal) has reached 80 % of credits in the period that began 1 Nov 2026"
    )

"""Every kind of fault is found, at its path, with what to do."""

from pathlib import Path

import pytest

from tests.catalog.support import GOOD, edited, faults_of

Case = tuple[str, str, str, str]
"""What is replaced, by what, the fault's path, a part of its text."""

REFERENCES: list[Case] = [
    (
        "apps: [{id: helpdesk, builder: northwind}",
        "apps: [{id: helpdesk, builder: northwnd}",
        "apps[0].builder",
        "did you mean northwind?",
    ),
    (
        "{id: dep_acme_prod, customer: acme,",
        "{id: dep_acme_prod, customer: acmee,",
        "deployments[0].customer",
        'no customer "acmee"; did you mean acme?',
    ),
    (
        "customer: globex, app: helpdesk}",
        "customer: globex, app: Helpdesk}",
        "deployments[1].app",
        "did you mean helpdesk?",
    ),
    (
        "{id: docs, version: 1, app: docflow}",
        "{id: docs, version: 1, app: zzz}",
        "plans[3].app",
        "known are docflow, helpdesk",
    ),
    (
        "{customer: acme, plan: team, version: 1,",
        "{customer: nobody, plan: team, version: 1,",
        "subscriptions[0].customer",
        'no customer "nobody"',
    ),
    (
        "{customer: acme, plan: team, version: 1,",
        "{customer: acme, plan: tem, version: 1,",
        "subscriptions[0].plan",
        "did you mean team?",
    ),
    (
        "{customer: acme, plan: team, version: 1,",
        "{customer: acme, plan: team, version: 9,",
        "subscriptions[0].version",
        "plan team has no version 9; it has 1, 2, 3",
    ),
    ("{plan: team, from: 1, to: 2,", "{plan: teams, from: 1, to: 2,", "migrations[0].plan", "did you mean team?"),
    ("{plan: team, from: 1, to: 2,", "{plan: team, from: 7, to: 2,", "migrations[0].from", "no version 7"),
    ("{plan: team, from: 1, to: 2,", "{plan: team, from: 1, to: 8,", "migrations[0].to", "no version 8"),
    ("customers: all,", "customers: [acme, globx],", "migrations[0].customers[1]", "did you mean globex?"),
]

REPEATED: list[Case] = [
    ("- {id: opus,", "- {id: gpt-5-mini,", "models[1].id", "is taken by"),
    ("builders: [{id: northwind,", "builders: [{id: northwind}, {id: northwind,", "builders[1].id", "is taken by"),
    ("{id: docflow, builder", "{id: helpdesk, builder", "apps[1].id", "is taken by"),
    ("customers: [{id: acme,", "customers: [{id: globex,", "customers[1].id", "is taken by"),
    ("{id: dep_globex_prod,", "{id: dep_acme_prod,", "deployments[1].id", "catalog.yaml:10"),
    ("{id: team, version: 3,", "{id: team, version: 2,", "plans[2].id", '"team" version 2 is taken by'),
    ("{id: pool,", "{id: legal-docs,", "plans[0].allowances[1].id", "is taken by"),
    ("{id: page-cap,", "{id: legal-cap,", "plans[0].budgets[1].id", "is taken by"),
    (
        "      - {id: premium,",
        "      - {id: premium}\n      - {id: premium,",
        "plans[0].surcharges[1].id",
        "is taken by",
    ),
]

NUMBERS: list[Case] = [
    ('input: "0.25"', 'input: "0.2512345"', "models[0].input", "too many decimals (7)"),
    ('price: "0.02"', 'price: "0.0000000000001"', "plans[0].prices[1].price", "too many decimals (13)"),
    ('price: "0.08"', 'price: "-0.08"', "plans[0].prices[0].tiers[2].price", "is not a decimal number >= 0"),
    ('price: "0.08"', 'price: "1e3"', "plans[0].prices[0].tiers[2].price", "is not a decimal number >= 0"),
    ('price: "0.08"', 'price: "٣"', "plans[0].prices[0].tiers[2].price", "is not a decimal number >= 0"),
    ('price: "0.08"', 'price: "0.08\\n"', "plans[0].prices[0].tiers[2].price", "is not a decimal number >= 0"),
    (
        'amount: "50.00"',
        "amount: 50.00",
        "plans[0].budgets[0].amount",
        '50.00 is a float, not text; write it in quotes: "50.00"',
    ),
    ('amount: "50.00"', "amount: -5", "plans[0].budgets[0].amount", "-5 is less than 0"),
    (
        'amount: "50.00"',
        'amount: "-5"',
        "plans[0].budgets[0].amount",
        '"-5" is not a decimal number >= 0; write it as a string such as "50.00"',
    ),
    ('amount: "50.00"', 'amount: "1000000000"', "plans[0].budgets[0].amount", "is too large"),
    ('amount: "50.00"', "amount: 1000000000", "plans[0].budgets[0].amount", "is more than 999999999"),
    ('amount: "50.00"', "amount: true", "plans[0].budgets[0].amount", "true is a boolean"),
    ('amount: "50.00"', "amount: 1_000", "plans[0].budgets[0].amount", "number in a special form"),
    ('margin_percent: "25"', 'margin_percent: "1000000"', "plans[0].prices[2].margin_percent", "is too large"),
    ('per_unit: "0.05"', "per_unit: [5]", "plans[0].surcharges[0].per_unit", "is a list, not text or a whole number"),
    ('platform_fee_percent: "5"', 'platform_fee_percent: "101"', "platform_fee_percent", "is too large"),
    ("included: 50}", "included: 50.5}", "plans[0].allowances[2].included", "50.5 is a float, not a whole number"),
    ("included: 50}", "included: -1}", "plans[0].allowances[2].included", "-1 is less than 0"),
    ("included: 50}", "included: 1000000000001}", "plans[0].allowances[2].included", "is more than 1000000000000"),
    ("included: 50}", 'included: "50"}', "plans[0].allowances[2].included", "write it without quotes"),
    ("included: 50}", "included: yes}", "plans[0].allowances[2].included", "yes is a boolean, not a whole number"),
    (", included: 50}", "}", "plans[0].allowances[2].included", "is missing; write a whole number"),
    (", included: 50}", ", included: }", "plans[0].allowances[2].included", "is missing"),
    ("quantity: 5000,", "quantity: -1,", "plans[0].budgets[1].quantity", "-1 is less than 0"),
    (
        "{document: 5, ticket: 1}",
        "{document: 0, ticket: 1}",
        "plans[0].allowances[1].credits.document",
        "0 is less than 1",
    ),
    ("[100, 50, 80]", "[50, 0]", "plans[0].allowances[1].alerts[1]", "0 is less than 1"),
    ("[100, 50, 80]", "[50, 1001]", "plans[0].allowances[1].alerts[1]", "1001 is more than 1000"),
    ("anchor_day: 15", "anchor_day: 29", "plans[0].anchor_day", "from 1 to 28"),
    ("anchor_day: 15", "anchor_day: 0", "plans[0].anchor_day", "from 1 to 28"),
    ("grace_hours: 24", "grace_hours: -1", "plans[0].grace_hours", "-1 is less than 0"),
    ("notice_days: 30", "notice_days: -30", "migrations[0].notice_days", "-30 is less than 0"),
    ("{id: team, version: 3,", "{id: team, version: 0,", "plans[2].version", "0 is less than 1"),
    ("{id: team, version: 3,", "{id: team, version: 010,", "plans[2].version", "number in a special form"),
]

FORM: list[Case] = [
    ("currency: USD\n", "", "currency", "is missing"),
    ("currency: USD", "currency: Dollar", "currency", "three capital letters"),
    ("    failed: cost", "    faild: cost", "plans[0].faild", "is an unknown key; did you mean failed?"),
    ("{unit: [answer]}", "{units: [answer]}", "plans[0].allowances[2].match.units", "did you mean unit?"),
    ("deployments:", "deployment:", "deployment", "did you mean deployments?"),
    ("failed: cost", "failed: never", "plans[0].failed", "is none of free, cost"),
    ("answer: block}", "answer: blok}", "plans[0].overage.answer", "did you mean block?"),
    ("default: invoice", "default: bill", "plans[0].overage.default", "is none of invoice, prepaid, block"),
    (
        "scope: workspace, match: {workspace: [legal]}",
        "scope: team, match: {workspace: [legal]}",
        "plans[0].budgets[0].scope",
        "is none of customer, deployment, workspace",
    ),
    ("per: day", "per: week", "plans[0].allowances[2].per", "is none of period, day, hour"),
    (", action: alert", "", "plans[0].budgets[1].action", "is missing; write block or alert"),
    ("quantity: 5000, action", "action", "plans[0].budgets[1]", "has none of amount and quantity"),
    (
        "quantity: 5000,",
        'quantity: 5000, amount: "1",',
        "plans[0].budgets[1]",
        "has amount and quantity, but may have only one",
    ),
    ('- {margin_percent: "25"}', "- {match: {}}", "plans[0].prices[2]", "has none of price, tiers and margin_percent"),
    (
        '- {margin_percent: "25"}',
        '- {margin_percent: "25", price: "1"}',
        "plans[0].prices[2]",
        "has price and margin_percent, but may have only one",
    ),
    ("connectivity: connected", "connectivity: airgapped", "deployments[0].connectivity", "did you mean air_gapped?"),
    (
        "environments: [production]",
        "environments: production",
        "plans[0].environments",
        'is "production", not a list; write a list such as [production]',
    ),
    (
        "environments: [production]",
        "environments: []",
        "plans[0].environments",
        "leave the key out when all are billable",
    ),
    (
        "{unit: [answer]}",
        "{unit: answer}",
        "plans[0].allowances[2].match.unit",
        "write a list such as [document, page]",
    ),
    ("{unit: [answer]}", "{unit: [5]}", "plans[0].allowances[2].match.unit[0]", 'write it in quotes: "5"'),
    (
        "builders: [{id: northwind, name: Northwind Ltd}]",
        "builders: {northwind: Northwind Ltd}",
        "builders",
        "is a mapping, not a list",
    ),
    ("- {id: docs, version: 1, app: docflow}", "- docs", "plans[3]", 'is "docs", not a mapping'),
    ("name: Globex", 'name: "a\\tb"', "customers[1].name", "holds a control character"),
    ("{id: dep_globex_prod,", "{id: " + "x" * 129 + ",", "deployments[1].id", "is too long (129 characters)"),
    ("{id: dep_globex_prod,", '{id: "",', "deployments[1].id", "is empty"),
    ("{id: dep_globex_prod, ", "{", "deployments[1].id", "is missing"),
    (
        "{document: 5, ticket: 1}",
        '{"a\\nb": 5}',
        'plans[0].allowances[1].credits["a\\nb"]',
        "the name holds a control character",
    ),
    ("customers: all", "customers: everyone", "migrations[0].customers", "write all, or a list of customer ids"),
    ("customers: all", "customers: []", "migrations[0].customers", "is empty"),
    (
        "effective: 2027-01-01",
        "effective: 2027-02-30",
        "migrations[0].effective",
        "is not a day; write a day such as 2026-01-01",
    ),
    ("start: 2026-01-01, end", "start: 2026-01-01T00:00:00Z, end", "subscriptions[1].start", "is not a day"),
    ("start: 2026-01-01, end", "start: 10000-01-01, end", "subscriptions[1].start", "is not a day"),
    ("start: 2026-01-01, end", "start: 2026-W01-1, end", "subscriptions[1].start", "is not a day"),
    ("start: 2026-01-01, end", "start: 20260101, end", "subscriptions[1].start", "is a number, not text"),
]

MEANING: list[Case] = [
    ("{up_to: 2000,", "{up_to: 1000,", "plans[0].prices[0].tiers[1].up_to", "1000 does not rise above 1000"),
    ("{up_to: 2000,", "{", "plans[0].prices[0].tiers[1].up_to", "only the last tier goes on without end"),
    ('{price: "0.08"}', '{up_to: 3000, price: "0.08"}', "plans[0].prices[0].tiers[2].up_to", "stands in the last tier"),
    ("end: 2026-06-01", "end: 2026-01-01", "subscriptions[1].end", "does not lie after the start"),
    ("from: 1, to: 2", "from: 1, to: 1", "migrations[0].to", "is the version that is left"),
    (
        "{id: team, version: 2, app: helpdesk}",
        "{id: team, version: 2, app: docflow}",
        "migrations[0].to",
        "version 2 is of app docflow",
    ),
    (
        "  - {customer: globex, plan: docs,",
        "  - {customer: acme, plan: team, version: 3, start: 2026-05-01}\n  - {customer: globex, plan: docs,",
        "subscriptions[2].start",
        "end one on 2026-05-01 at the latest",
    ),
    (
        "  - {customer: globex, plan: docs,",
        "  - {customer: globex, plan: team, version: 1, start: 2025-01-01}\n  - {customer: globex, plan: docs,",
        "subscriptions[1].start",
        "overlaps the subscription at",
    ),
]

YAML: list[Case] = [
    ("    failed: cost", "    failed: cost\n    failed: free", "plans[0].failed", "stands twice, first in line 33"),
    ("{up_to: 1000,", "{<<: {up_to: 1000},", 'plans[0].prices[0].tiers[0]["<<"]', "merge keys are not supported"),
    ("{id: opus,", "{? [a] : b, id: opus,", "models[1]", "has a key that is not text"),
    ("{id: opus,", "{id: *gone,", "models[1].id", "alias *gone has no anchor before it"),
    ("{id: opus,", "{id: !!python/name:os.system opus,", "models[1].id", "value with a YAML tag"),
    ("{id: opus,", "{id: !!binary b3B1cw==,", "models[1].id", "value with a YAML tag"),
]


@pytest.mark.rule("R4.1")
@pytest.mark.parametrize(("old", "new", "path", "part"), [*REFERENCES, *REPEATED, *NUMBERS, *FORM, *MEANING, *YAML])
def test_each_fault_is_found(tmp_path: Path, old: str, new: str, path: str, part: str) -> None:
    """A catalog with one fault gets it reported at its path, with the reason and the remedy."""
    faults = faults_of(tmp_path, edited((old, new)))

    assert any(fault.path == path and part in str(fault) for fault in faults), "\n".join(map(str, faults))


@pytest.mark.parametrize(("old", "new", "path", "part"), [*NUMBERS, *REPEATED])
def test_one_fault_is_reported_once(tmp_path: Path, old: str, new: str, path: str, part: str) -> None:
    """A wrong number or a repeated id gives one fault at its path, not two."""
    faults = faults_of(tmp_path, edited((old, new)))

    assert [fault.path for fault in faults].count(path) == 1, part


def test_all_faults_are_reported_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    """One run names the faults of form, of references and of meaning together."""
    text = edited(
        ('input: "0.25"', "input: 0.25"),
        ("apps: [{id: helpdesk, builder: northwind}", "apps: [{id: helpdesk, builder: nobody}"),
        ("{up_to: 2000,", "{up_to: 3,"),
        ("    failed: cost", "    fails: cost"),
        ("from: 1, to: 2", "from: 1, to: 1"),
    )

    found = [fault.path for fault in faults_of(tmp_path, text)]

    assert found == [
        "models[0].input",
        "apps[0].builder",
        "plans[0].prices[0].tiers[1].up_to",
        "plans[0].fails",
        "migrations[0].to",
    ]


def test_the_good_catalog_has_no_fault(tmp_path: Path) -> None:
    """What the edits start from is sound."""
    assert faults_of(tmp_path, GOOD) == []


def test_a_fault_reads_as_one_line(tmp_path: Path) -> None:
    """A fault shows file, line, column, path, reason and remedy."""
    (fault,) = faults_of(tmp_path, edited(('amount: "50.00"', 'amount: "-5"')))

    assert str(fault) == (
        f"{tmp_path}/catalog.yaml:31:80 plans[0].budgets[0].amount: "
        '"-5" is not a decimal number >= 0; write it as a string such as "50.00", '
        "with at most 12 decimals, below 1000000000"
    )

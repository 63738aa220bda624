"""A good catalog becomes exactly the domain's catalog."""

from pathlib import Path

import pytest

from pipeline.catalog import CatalogError, check_catalog, load_catalog
from pipeline.domain.catalog import Allowance, App, Budget, Deployment, Model, Plan, PriceRow, Surcharge, Tier
from pipeline.domain.instants import day_start_us
from pipeline.domain.terms import weight_of
from tests.catalog.support import GOOD, edited, write

CONFORMANCE = Path(__file__).resolve().parents[3] / "shared" / "conformance"
PICO = 10**12


@pytest.mark.rule("R4.1", "R5.1", "R5.2")
def test_amounts_become_exact_picodollars(tmp_path: Path) -> None:
    """Prices, percentages and amounts lose nothing on their way to integers."""
    catalog = load_catalog(write(tmp_path, GOOD))

    assert catalog.currency == "USD"
    assert catalog.platform_fee_percent_pico == 5 * PICO
    assert catalog.models["gpt-5-mini"] == Model("gpt-5-mini", "openai", "standard", 250_000, 25_000, 2_000_000)
    assert catalog.plans["team", 1].prices == (
        PriceRow(
            {"unit": frozenset({"ticket"})},
            tiers=(Tier(1000, PICO // 10), Tier(2000, 9 * PICO // 100), Tier(None, 8 * PICO // 100)),
        ),
        PriceRow({"unit": frozenset({"page"})}, tiers=(Tier(None, 2 * PICO // 100),)),
        PriceRow(margin_percent_pico=25 * PICO),
    )


@pytest.mark.rule("R4.1", "R4.2")
def test_a_plan_keeps_all_its_terms_in_order(tmp_path: Path) -> None:
    """Allowances, overage, surcharges and budgets arrive as written; alerts in rising order."""
    plan = load_catalog(write(tmp_path, GOOD)).plans["team", 1]

    assert (plan.app, plan.anchor_day, plan.grace_hours) == ("helpdesk", 15, 24)
    assert plan.environments == {"production"}
    assert (plan.failed, plan.repeats) == ("cost", "free")
    assert plan.overage == {"default": "invoice", "answer": "block"}
    assert plan.allowances == (
        Allowance(
            "legal-docs", 200, "workspace", match={"unit": frozenset({"document"}), "workspace": frozenset({"legal"})}
        ),
        Allowance("pool", 1000, credits={"document": 5, "ticket": 1}, alerts=(50, 80, 100)),
        Allowance("daily-answers", 50, per="day", match={"unit": frozenset({"answer"})}),
    )
    assert plan.surcharges == (Surcharge("premium", {"class": frozenset({"premium"})}, 5 * PICO // 100, 10 * PICO),)
    assert plan.budgets == (
        Budget("legal-cap", True, 50 * PICO, scope="workspace", match={"workspace": frozenset({"legal"})}),
        Budget("page-cap", False, quantity=5000, match={"unit": frozenset({"page"})}),
    )


@pytest.mark.rule("R4.1")
def test_what_is_left_out_gets_its_default(tmp_path: Path) -> None:
    """A plan of three keys, a deployment without connectivity and rows without names are complete."""
    text = edited(("name: Globex", "name: "), ("class: premium, input", "input"), ('platform_fee_percent: "5"\n', ""))

    catalog = load_catalog(write(tmp_path, text))

    assert catalog.plans["docs", 1] == Plan("docs", 1, "docflow")
    assert catalog.plans["docs", 1].grace_hours == 72
    assert catalog.deployments["dep_globex_prod"] == Deployment(
        "dep_globex_prod", "globex", "helpdesk", air_gapped=False
    )
    assert catalog.customers == {"acme": "Acme GmbH", "globex": "globex"}
    assert catalog.apps["docflow"] == App("docflow", "northwind")
    assert catalog.models["opus"].model_class == "standard"
    assert catalog.platform_fee_percent_pico == 0


@pytest.mark.rule("R4.2")
def test_an_empty_match_matches_everything(tmp_path: Path) -> None:
    """An absent match, an empty one, and an empty list of values are the same."""
    text = edited(
        ("match: {class: [premium]},", "match: {class: []},"),
        ("id: daily-answers, per: day, match: {unit: [answer]}", "id: daily-answers, match: {}"),
    )

    plan = load_catalog(write(tmp_path, text)).plans["team", 1]

    assert plan.surcharges[0].match == {}
    assert plan.allowances[2].match == {}


@pytest.mark.rule("R6.4")
def test_credits_for_no_unit_match_no_unit(tmp_path: Path) -> None:
    """Empty credits stay empty, unlike absent ones, so that no unit has a weight in that pool."""
    plan = load_catalog(write(tmp_path, edited(("{document: 5, ticket: 1}", "{}")))).plans["team", 1]

    assert [allowance.credits for allowance in plan.allowances] == [None, {}, None]
    assert weight_of(plan.allowances[1].credits, "document") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('amount: "50.00"', "amount: 50"),
        ("start: 2026-01-01, end: 2026-06-01", "start: '2026-01-01', end: \"2026-06-01\""),
        (
            "customer: acme, plan: team, version: 1, start: 2026-01-01}",
            "customer: acme, plan: team, version: 1, start: 2026-01-01, end: }",
        ),
        ("alerts: [100, 50, 80]", "alerts: [80, 50, 80, 100, 50]"),
        ("currency: USD", "currency: USD # dollars"),
        ("currency: USD", "---\ncurrency: USD"),
        ("{unit: [answer]}", "&answers {unit: [answer]}"),
    ],
)
def test_other_ways_to_write_the_same(tmp_path: Path, old: str, new: str) -> None:
    """Whole amounts, quoted days, repeated thresholds, anchors, comments and keys without a value change nothing."""
    other = write(tmp_path, edited((old, new)), "other.yaml")

    assert load_catalog(other) == load_catalog(write(tmp_path, GOOD))


def test_an_alias_stands_for_its_value(tmp_path: Path) -> None:
    """What an alias repeats is read as if it were written out."""
    text = edited(("{unit: [answer]}", "&m {unit: [answer]}"), ("match: {unit: [page]}, price", "match: *m, price"))

    plan = load_catalog(write(tmp_path, text)).plans["team", 1]

    assert plan.prices[1].match == {"unit": {"answer"}}


@pytest.mark.rule("R4.1")
def test_a_folder_is_one_catalog(tmp_path: Path) -> None:
    """The files of a folder and its sub-folders are merged by name; a value that stands twice must be equal."""
    plans = GOOD.index("plans:")
    subscriptions = GOOD.index("subscriptions:")
    folder = tmp_path / "catalog"
    write(folder, GOOD[:plans], "a.yaml")
    write(folder, "currency: USD\n" + GOOD[plans:subscriptions], "plans/team.yml")
    write(folder, GOOD[subscriptions:], "z.yaml")
    write(folder, "not: [a catalog", "notes.txt")
    write(folder, "not: [a catalog", ".hidden.yaml")

    assert check_catalog(folder) == []
    assert load_catalog(folder) == load_catalog(write(tmp_path, GOOD))


def test_faults_in_a_folder_name_their_own_file(tmp_path: Path) -> None:
    """Paths and lines count within the file at fault, also for what two files disagree about."""
    folder = tmp_path / "catalog"
    write(folder, GOOD, "a.yaml")
    write(folder, "currency: EUR\ncustomers:\n  - {id: acme}\n  - {id: initech, nmae: x}\n", "b.yaml")

    faults = [(Path(fault.file).name, fault.line, fault.path) for fault in check_catalog(folder)]

    assert faults == [("b.yaml", 1, "currency"), ("b.yaml", 3, "customers[0].id"), ("b.yaml", 4, "customers[1].nmae")]


def test_an_unsound_catalog_is_never_returned(tmp_path: Path) -> None:
    """Loading raises with all faults, which its text shows."""
    path = write(tmp_path, edited(("included: 50}", "included: -1}"), ("failed: cost", "failed: x")))

    with pytest.raises(CatalogError, match="-1 is less than 0") as caught:
        load_catalog(path)

    assert list(caught.value.faults) == check_catalog(path)
    assert len(caught.value.faults) == 2


@pytest.mark.rule("R4.1")
@pytest.mark.parametrize("case", ["case1", "case2", "case3"])
def test_the_worked_examples_load(case: str) -> None:
    """The catalogs of the worked examples are sound."""
    path = CONFORMANCE / case / "catalog.yaml"
    if not path.is_file():
        pytest.skip(f"{path} is absent: the worked examples are not part of the project")

    assert len(load_catalog(path).plans) == 8


@pytest.mark.rule("R4.3")
def test_the_plan_of_an_instant(tmp_path: Path) -> None:
    """A subscription applies from its start to just before its end."""
    catalog = load_catalog(write(tmp_path, GOOD))
    end = day_start_us("2026-06-01")

    assert catalog.plan_at("globex", "helpdesk", day_start_us("2026-01-01")) is catalog.plans["team", 2]
    assert catalog.plan_at("globex", "helpdesk", end - 1) is catalog.plans["team", 2]
    assert catalog.plan_at("globex", "helpdesk", end) is None
    assert catalog.plan_at("globex", "helpdesk", day_start_us("2026-01-01") - 1) is None

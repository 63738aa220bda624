"""What the report routes answer: the same figures as everywhere, to each key only what is its own."""

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli.export import export_group
from pipeline.cli.statement import statement_command
from pipeline.settings import Settings
from tests.api.reports_data import ACME_HELPDESK, ACME_INSIGHTS, GLOBEX_INSIGHTS, LINES, PERIOD
from tests.api.support import RunningApi, catalog_file, settings_for, store_key, wait_until

STATEMENT = f"/v1/statements/acme/helpdesk/{PERIOD}"
DAILY = "/v1/usage/daily?since=2026-11-01&until=2026-12-01&by=app,feature"
COSTS = ("cost", "cost_charged", "margin", "provider_reward", "builder_earnings")
HIDDEN = {*COSTS, *(f"{name}_pico" for name in COSTS)}
OF = {
    "acme": [*ACME_HELPDESK, *ACME_INSIGHTS],
    "globex": GLOBEX_INSIGHTS,
    "northwind": ACME_HELPDESK,
    "brightwater": [*ACME_INSIGHTS, *GLOBEX_INSIGHTS],
    "operator": LINES,
}
"""Whose lines are whose to see."""

Get = Any


@pytest.fixture
def get(api: RunningApi, tokens: dict[str, str]) -> Get:
    """Give a function that asks as somebody and returns the answer in JSON."""

    def ask(who: str, path: str, status: int = 200) -> Any:
        answer = api.request("get", path, tokens[who], None)
        assert answer.status_code == status, answer.text
        return answer.json()

    return ask


def names_in(value: Any) -> set[str]:
    """Return the names of all fields, however deep."""
    if isinstance(value, dict):
        return set(value) | {name for each in value.values() for name in names_in(each)}
    return {name for each in value for name in names_in(each)} if isinstance(value, list) else set()


def on_the_command_line(settings: Settings, command: Any, *arguments: str) -> str:
    fixed = ["--clickhouse", settings.clickhouse, "--catalog", str(settings.catalog)]
    done = CliRunner().invoke(command, [*arguments, *fixed])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.rule("R8.1")
def test_a_statement_is_that_of_the_command_line(api_settings: Settings, get: Get) -> None:
    """Field by field, for whoever may read it, with and without detail."""
    for detail in ((), ("--detail", "workspace")):
        fixed = ("--customer", "acme", "--app", "helpdesk", "--period", PERIOD, "--format", "json")
        printed = json.loads(on_the_command_line(api_settings, statement_command, *fixed, *detail))
        for who in ("acme", "northwind", "operator"):
            found = get(who, STATEMENT + ("?detail=workspace" if detail else ""))

            assert found["rows"] == printed["rows"]
            assert found["total"] == printed["total"] == "8.24"
            assert found["state"] == "open"


@pytest.mark.parametrize("who", OF)
def test_lists_and_usage_hold_just_the_callers_own(get: Get, who: str) -> None:
    """A customer sees its apps, a builder its app's customers, the operator all."""
    listed = get(who, "/v1/statements")["statements"]
    daily = get(who, DAILY)["rows"]

    assert {(each["customer"], each["app"]) for each in listed} == {(line["customer"], line["app"]) for line in OF[who]}
    assert sum(row["charge_pico"] for row in daily) == sum(line["charge_pico"] for line in OF[who])
    assert sum(each["lines"] for each in listed) == sum(row["lines"] for row in daily) == len(OF[who])


def test_filters_narrow_and_never_widen(get: Get) -> None:
    """Another's app or customer beside one's own is nothing."""
    assert get("acme", "/v1/statements?app=insights")["statements"][0]["customer"] == "acme"
    assert get("globex", "/v1/statements?app=helpdesk")["statements"] == []
    assert get("globex", f"{DAILY}&app=helpdesk")["rows"] == []
    assert {each["app"] for each in get("northwind", "/v1/statements?customer=acme")["statements"]} == {"helpdesk"}
    assert {row["app"] for row in get("northwind", f"{DAILY}&customer=acme")["rows"]} == {"helpdesk"}


def test_a_customer_is_told_prices_not_how_they_are_shared(get: Get) -> None:
    """Cost, margin, reward and earnings are for the app's builder and the operator."""
    for path in (f"{STATEMENT}/lines", DAILY, STATEMENT, "/v1/statements"):
        assert not names_in(get("acme", path)) & HIDDEN
    for who in ("northwind", "operator"):
        assert names_in(get(who, f"{STATEMENT}/lines")) >= {"margin_pico", "builder_earnings_pico"}
        assert names_in(get(who, DAILY)) >= HIDDEN


def test_a_line_is_explained_to_each_as_it_may_know(get: Get) -> None:
    """A customer reads the price and the charge; cost and split are in neither fields nor sentences."""
    told = get("acme", "/v1/explain/line?customer=acme&seq=4")
    fully = get("northwind", "/v1/explain/line?customer=acme&seq=4")

    assert not names_in(told) & HIDDEN
    titles = [step["title"] for step in told["steps"]]
    assert {"Cost", "Split"} <= {step["title"] for step in fully["steps"]}
    assert not {"Cost", "Split"} & set(titles)
    assert told["steps"][-1] == {
        "title": "Charge",
        "rules": ["R6.7"],
        "text": "8.00 price + 0.10 surcharge = 8.10 USD.",
    }
    for step in told["steps"]:
        assert "margin" not in step["text"]
        assert "7.00" not in step["text"]  # what the call cost


def test_a_change_is_explained_in_parts_that_sum_to_it(get: Get) -> None:
    """Against nothing the parts sum to the total; a customer is told no costs."""
    told = get("acme", "/v1/explain/change?customer=acme&app=helpdesk&period=2026-11-01")

    assert told["difference"] == "8.24"
    assert sum(part["cents"] for part in told["parts"]) == 824
    assert not names_in(told) & HIDDEN


def test_margin_risk_is_that_of_the_builders_apps(get: Get) -> None:
    """A builder sees its own customers, the operator all."""
    assert {row["app"] for row in get("northwind", "/v1/margin/2026-11")["rows"]} == {"helpdesk"}
    assert {row["app"] for row in get("operator", "/v1/margin/2026-11")["rows"]} == {"helpdesk", "insights"}


def same_problem(get: Get, who: str, status: int, *paths: str) -> None:
    """Assert that the answers differ in nothing but the request's id."""
    told = [{**get(who, path, status), "request_id": ""} for path in paths]
    assert all(problem == told[0] for problem in told), told


def test_what_may_not_be_known_looks_like_what_is_not_there(get: Get) -> None:
    """Neither status nor words tell whether a customer, an app, a statement or a builder of others exists."""
    for suffix in ("", "/lines", "/export?format=csv"):
        of = "/v1/statements/{}/" + PERIOD + suffix
        same_problem(get, "acme", 403, of.format("globex/insights"), of.format("nobody/insights"))
        same_problem(get, "northwind", 403, of.format("acme/insights"), of.format("acme/nothing"))
        same_problem(get, "northwind", 403, of.format("globex/helpdesk"), of.format("nobody/helpdesk"))
    same_problem(get, "northwind", 403, "/v1/payouts/2026-11?builder=brightwater", "/v1/payouts/2026-11?builder=nobody")
    same_problem(
        get, "globex", 404, f"/v1/statements/globex/helpdesk/{PERIOD}", f"/v1/statements/globex/nothing/{PERIOD}"
    )
    line = "/v1/explain/line?customer=acme&seq={}"
    same_problem(get, "brightwater", 404, line.format(1), line.format(99))
    same_problem(get, "globex", 403, line.format(1), line.format(99), line.replace("acme", "nobody").format(1))
    change = "/v1/explain/change?period=2026-11-01&customer={}&app={}"
    same_problem(get, "northwind", 403, change.format("acme", "insights"), change.format("nobody", "helpdesk"))
    helped = get("operator", f"/v1/statements/globex/helpdesk/{PERIOD}", 404)
    assert "insights" in helped["detail"]


@pytest.mark.rule("R8.1", "R7.2")
def test_a_figure_is_followed_to_the_lines_that_it_sums(get: Get) -> None:
    """Page by page, by row and by part, the charges of lines sum to the figure."""
    statement = get("acme", f"{STATEMENT}?detail=workspace")
    for row in statement["rows"]:
        of_row = f"{STATEMENT}/lines?feature={row['feature']}&unit={row['unit']}"
        page = get("acme", f"{of_row}&limit=1")
        lines = list(page["lines"])
        while page["next_after_seq"] is not None:
            page = get("acme", f"{of_row}&limit=1&after_seq={page['next_after_seq']}")
            lines += page["lines"]

        assert sum(line["charge_pico"] for line in lines) == row["charge_pico"]
        for part in row["detail"]:
            of_part = get("acme", f"{of_row}&workspace={part['workspace']}")["lines"]
            assert sum(line["charge_pico"] for line in of_part) == part["charge_pico"]


@pytest.mark.rule("R5.4", "R8.1")
@pytest.mark.parametrize("form", ["csv", "json", "html", "focus", "invoice-items"])
def test_an_export_is_that_of_the_command_line(
    api: RunningApi, tokens: dict[str, str], api_settings: Settings, tmp_path: Path, form: str
) -> None:
    """Byte for byte, for whoever may have it, with a name that no id can break out of."""
    out = tmp_path / "exported"
    fixed = ("statement", "--customer", "acme", "--app", "helpdesk", "--period", PERIOD, "--format", form)
    on_the_command_line(api_settings, export_group, *fixed, "--out", str(out))

    for who in ("acme", "northwind", "operator"):
        answer = api.request("get", f"{STATEMENT}/export?format={form}", tokens[who], None)

        assert answer.status_code == 200, answer.text
        assert answer.content == out.read_bytes()
        assert answer.headers["content-disposition"].startswith(
            'attachment; filename="statement-acme-helpdesk-2026-11-01.'
        )
    if form == "focus":
        rows = list(csv.DictReader(io.StringIO(out.read_text())))
        assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal("8.24")


def test_a_builder_gets_its_own_payouts(get: Get) -> None:
    """Without a name it is its own; the parts are those of its apps."""
    (own,) = get("northwind", "/v1/payouts/2026-11")["payouts"]

    assert own["builder"] == "northwind"
    assert {part["app"] for part in own["parts"]} == {"helpdesk"}
    assert own["earnings_pico"] == sum(line["builder_earnings_pico"] for line in ACME_HELPDESK)
    assert len(get("operator", "/v1/payouts/2026-11")["payouts"]) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/v1/statements?period=2026-13-01",
        "/v1/statements?period=2026-11-31",
        f"{STATEMENT}?detail=seq",
        f"{STATEMENT}/lines?limit=0",
        f"{STATEMENT}/lines?limit=1001",
        f"{STATEMENT}/lines?after_seq=-1",
        f"{STATEMENT}/lines?kind=%00",
        f"{STATEMENT}/export",
        f"{STATEMENT}/export?format=pdf",
        "/v1/usage/daily?since=2026-11-01",
        "/v1/usage/daily?since=2026-02-30&until=2026-11-01",
        "/v1/usage/daily?since=2026-11-02&until=2026-11-01",
        "/v1/usage/daily?since=2020-11-02&until=2026-11-01",
        "/v1/usage/daily?since=2026-11-01&until=2026-11-02&by=secret",
        "/v1/payouts/2026-00",
    ],
)
def test_a_wrong_parameter_is_named(get: Get, path: str) -> None:
    """422 says which, before anything is asked of ClickHouse."""
    assert get("operator", path, 422)["type"] == "urn:usage:problem:invalid-field"


@pytest.mark.parametrize("name", ["acme' OR 1=1 --", "acme\\", "{customer:String}", "ac%2Cme"])
def test_names_are_values_not_sql(get: Get, name: str) -> None:
    """What looks like SQL is a name that nobody has."""
    found = get("acme", f"{STATEMENT}/lines?workspace={name}")

    assert found == {"lines": [], "next_after_seq": None}


@pytest.fixture
def alone(api_settings: Settings, tmp_path: Path) -> Iterator[RunningApi]:
    """Yield an API whose ClickHouse is away."""
    settings = settings_for(api_settings.kafka, catalog_file(tmp_path), clickhouse="http://127.0.0.1:9")
    with RunningApi(settings) as running:
        yield running.ready()


def test_without_clickhouse_the_rest_is_served(alone: RunningApi, api_settings: Settings) -> None:
    """Reports are 503 with the time to come again, quota and readiness as ever."""
    token, _ = store_key(api_settings, "customer", "acme")
    wait_until(lambda: alone.knows(token), "the key to be read")

    answer = alone.request("get", STATEMENT, token, None)
    refused = alone.request("get", f"/v1/statements/globex/insights/{PERIOD}", token, None)
    quota = alone.request("get", "/v1/quota/acme", token, None)

    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:usage:problem:clickhouse-away"
    assert int(answer.headers["retry-after"]) >= 1
    assert "127.0.0.1" not in answer.text
    assert (refused.status_code, quota.status_code) == (403, 200)

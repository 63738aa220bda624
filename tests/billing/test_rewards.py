"""Tests of `usage rewards`: what providers are owed, apart from payouts."""

import csv
import io
import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from pipeline.cli.rewards import rewards_command
from pipeline.settings.resources import schema_path
from tests.sink.support import a_line, insert, priced

CENT = 10**10
INCLUDED: dict[str, Any] = {
    **priced(0, 0),
    "cost_pico": 7 * CENT,
    "overage": 0,
    "included": 1,
    "pools": [{"id": "pool", "scope_value": "", "units": 1}],
}


def of_provider(seq: int, provider: str, **changes: Any) -> dict[str, Any]:
    """Return a line of September with a provider."""
    posted = {"time": "2026-09-30T23:59:59.999999Z", "posted_at": "2026-09-30T23:59:59.999999Z", **changes}
    return a_line("acme", seq, **posted) | {"provider": provider}


@pytest.fixture
def filled(store: Client) -> Client:
    """Give lines of two providers, of one that is not in the catalog, and of the next month."""
    insert(
        store,
        [
            of_provider(1, "openai", **priced(3 * CENT + 1, CENT)),
            of_provider(2, "openai", **INCLUDED),
            of_provider(3, "openai", **priced(CENT, 0), model="gpt-5"),
            of_provider(4, "anthropic", **priced(5 * CENT, -CENT), model="claude"),
            of_provider(5, "", **priced(2 * CENT, 0), model="own"),
            of_provider(6, "openai", posted_at="2026-10-01T00:00:00Z", **priced(99 * CENT, 0)),
        ],
    )
    return store


def rewards(clickhouse: str, *arguments: str) -> Result:
    """Run the command for September."""
    catalog = str(schema_path("examples", "catalog.yaml"))
    fixed = ["--month", "2026-09", "--clickhouse", clickhouse, "--catalog", catalog]
    return CliRunner().invoke(rewards_command, [*fixed, *arguments])


@pytest.mark.rule("R8.2", "R11.7")
@pytest.mark.usefixtures("filled")
def test_the_table_goes_by_provider_and_model(clickhouse: str) -> None:
    """The reward is what was charged of the cost; the cost counts included calls too, and the next month is not in it."""
    done = rewards(clickhouse)

    assert done.exit_code == 0
    assert [line.split() for line in done.output.splitlines()] == [
        ["Provider", "rewards", "for", "2026-09,", "UTC,", "amounts", "in", "USD"],
        [],
        ["Provider", "Model", "Lines", "Tokens", "in", "Cached", "Tokens", "out", "Cost", "Reward"],
        ["(not", "in", "catalog)", "own", "1", "1,000", "10", "100", "0.02", "0.02"],
        ["anthropic", "claude", "1", "1,000", "10", "100", "0.05", "0.05"],
        ["openai", "gpt-5", "1", "1,000", "10", "100", "0.01", "0.01"],
        ["openai", "gpt-5-mini", "2", "2,000", "20", "200", "0.100000000001", "0.030000000001"],
        ["openai,", "all", "models", "0.110000000001", "0.040000000001"],
        ["Total", "0.180000000001", "0.110000000001"],
    ]


@pytest.mark.rule("R8.2", "R11.7")
@pytest.mark.usefixtures("filled")
def test_json_and_csv_have_exact_rewards_and_no_earnings(clickhouse: str) -> None:
    """A provider's sum is that of its models, as text and as an integer; what builders earn is not there."""
    report = json.loads(rewards(clickhouse, "--format", "json").output, parse_float=pytest.fail)
    rows = list(csv.DictReader(io.StringIO(rewards(clickhouse, "--format", "csv").output)))

    assert (report["month"], report["currency"]) == ("2026-09", "USD")
    assert {each["provider"]: each["reward"] for each in report["providers"]} == {
        "(not in catalog)": "0.020000000000",
        "anthropic": "0.050000000000",
        "openai": "0.040000000001",
    }
    assert [int(row["reward_pico"]) for row in rows] == [row["reward_pico"] for row in report["rows"]]
    assert not any("earnings" in name for name in rows[0])


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("provider", "reward"), [("anthropic", 5 * CENT), ("(not in catalog)", 2 * CENT)])
def test_one_provider_can_be_asked_for(clickhouse: str, provider: str, reward: int) -> None:
    """Also the models that have none in the catalog."""
    report = json.loads(rewards(clickhouse, "--provider", provider, "--format", "json").output)

    assert [(row["provider"], row["reward_pico"]) for row in report["rows"]] == [(provider, reward)]


@pytest.mark.usefixtures("filled")
def test_an_unknown_provider_is_told(clickhouse: str) -> None:
    """The message names those that the catalog has."""
    done = rewards(clickhouse, "--provider", "opneai")

    assert done.exit_code == 1
    assert "known are: (not in catalog), anthropic, groq, openai" in done.stderr


def test_what_is_no_month_is_refused() -> None:
    """Nothing is asked of ClickHouse."""
    done = CliRunner().invoke(rewards_command, ["--month", "2026-11-01"])

    assert done.exit_code == 2
    assert "'2026-11-01' is no month" in done.stderr

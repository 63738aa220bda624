"""Tests that the roles and row policies of the access migrations hold: no tenant sees another's rows, nor what is not told to it."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from clickhouse_connect.driver.client import Client

from pipeline.cli.migrate import migrate_command
from pipeline.sink.migrations import load_access_migrations, migrate
from pipeline.sink.rollups import refresh
from tests.fixtures.servers import clickhouse_server
from tests.sink.support import a_line, client_of, insert, priced

ROLES = ("usage_customer", "usage_builder")
REFUSED = "ACCESS_DENIED"
CLOSING = "INSERT INTO usage.closings (id, customer, app, period, cut_off, closed_at) VALUES"
VIEWS = {
    "lines_v1": "sum(charge)",
    "statements_v1": "sum(charge)",
    "statement_details_v1": "sum(charge)",
    "usage_daily_v1": "sum(charge)",
    "usage_hourly_v1": "sum(charge)",
}
PAYOUT = """
INSERT INTO usage.payouts (id, builder, month, made_at, paid_pico)
VALUES ('p1', 'northwind', '2026-10-01', '2026-11-05', 1), ('p2', 'contoso', '2026-10-01', '2026-11-05', 1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a migrated ClickHouse folder: three customers of two builders, some lines rolled up and some not, two tenants."""
    folder = tmp_path_factory.mktemp("tenants") / "clickhouse"
    server = clickhouse_server(folder).start()
    try:
        with closing(client_of(server.address)) as client:
            fill(client)
    finally:
        server.stop()
    return folder


def fill(client: Client) -> None:
    """Put in what tenants may see of their own, and of others."""
    migrate(client)
    client.command(load_access_migrations()[0].statements[0])
    insert(client, lines_of("acme", "northwind", 1, 5) + lines_of("globex", "northwind", 1, 3))
    insert(client, lines_of("initech", "contoso", 1, 2))
    refresh(client)
    insert(client, lines_of("acme", "northwind", 6, 8) + lines_of("initech", "contoso", 3, 4))
    for customer in ("acme", "globex", "initech"):
        client.command(f"{CLOSING} ('{customer}', '{customer}', 'helpdesk', '2026-11-01', 2, '2026-12-04 00:00:00')")
    client.command(PAYOUT)
    client.command(
        "INSERT INTO usage.tenants (user, customer, builder) VALUES ('default', 'acme', ''), ('default', '', 'contoso'), "
        "('bob', 'globex', ''), ('bob', '', 'northwind')"
    )


def lines_of(customer: str, builder: str, first: int, last: int) -> list[dict[str, Any]]:
    return [a_line(customer, seq, builder=builder, **priced(10**12, 10**9, 10**9)) for seq in range(first, last + 1)]


def ask(folder: Path, role: str, *queries: str) -> list[Any]:
    """Return the answers to queries of a user of a role: rows, or the name of the error."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sink.as_tenant", str(folder), role],
        input=json.dumps(queries),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    answers: list[Any] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize(
    ("role", "own"), [("usage_customer", ["acme", "8.016"]), ("usage_builder", ["initech", "4.008"])]
)
def test_a_tenant_sees_its_own_rows_in_every_view(folder: Path, role: str, own: list[str]) -> None:
    """Rolled up or not, all of its lines and nobody else's; closings and its entry among tenants too."""
    queries = [f"SELECT customer, {total} FROM usage.{view} GROUP BY customer" for view, total in VIEWS.items()]
    tables = [f"SELECT DISTINCT customer FROM usage.{name}" for name in ("closings_v1", "line_heads", "rollup_behind")]

    answers = ask(folder, role, *queries, *tables, "SELECT DISTINCT user FROM usage.tenants")

    assert answers[: len(queries)] == [[own]] * len(queries)
    assert answers[len(queries) : -1] == [[own[:1]]] * len(tables)
    assert answers[-1] == [["default"]]


def test_a_customer_is_not_told_how_its_charge_is_shared(folder: Path) -> None:
    """Cost, margin, rewards and earnings are refused by name, in views and below them."""
    hidden = ("cost", "cost_charged", "margin", "provider_reward", "builder_earnings")
    queries = [f"SELECT {name} FROM usage.{view}" for name in hidden for view in ("lines_v1", "usage_daily_v1")]
    queries += [f"SELECT {name}_pico FROM usage.{table}" for name in hidden for table in ("usage_lines", "rollup_days")]
    queries += [f"SELECT count() FROM usage.{view}" for view in ("margin_v1", "builder_earnings_v1", "payouts_v1")]

    answers = ask(folder, "usage_customer", *queries)

    assert dict(zip(queries, answers, strict=True)) == dict.fromkeys(queries, REFUSED)


def test_a_builder_sees_what_it_earns_and_is_paid(folder: Path) -> None:
    """Its own months and payouts; what providers are owed is refused."""
    earned, margin, paid, rewards, reward = ask(
        folder,
        "usage_builder",
        "SELECT builder, customer, charge FROM usage.builder_earnings_v1",
        "SELECT builder, customer, cost FROM usage.margin_v1",
        "SELECT id FROM usage.payouts_v1",
        "SELECT count() FROM usage.provider_rewards_v1",
        "SELECT provider_reward_pico FROM usage.usage_lines",
    )

    assert earned == [["contoso", "initech", "4.008"]]
    assert margin == [["contoso", "initech", "4"]]
    assert paid == [["p2"]]
    assert (rewards, reward) == (REFUSED, REFUSED)


@pytest.mark.parametrize("role", ROLES)
def test_a_tenant_can_neither_write_nor_look_elsewhere(folder: Path, role: str) -> None:
    """It cannot name itself another tenant, nor read other tables, files or addresses."""
    queries = [
        "INSERT INTO usage.tenants (user, customer) VALUES ('default', 'globex')",
        "ALTER TABLE usage.usage_lines DELETE WHERE 1",
        "TRUNCATE TABLE usage.tenants",
        "DROP VIEW usage.lines_v1",
        "CREATE VIEW usage.mine AS SELECT 1",
        "SELECT * FROM usage.postings_v1",
        "SELECT * FROM usage.sink_positions",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    ]

    answers = ask(folder, role, *queries)

    assert dict(zip(queries, answers, strict=True)) == dict.fromkeys(queries, REFUSED)


def test_every_policy_leaves_others_all_rows() -> None:
    """The pipeline, which has none of the roles, goes on to see everything in each table that a policy is about."""
    statements = [" ".join(each.split()) for each in load_access_migrations()[0].statements]
    policies = [
        each.split(" ON usage.")[1].split(" ")[0] for each in statements if each.startswith("CREATE ROW POLICY")
    ]

    for table in set(policies):
        everything = f"ON usage.{table} FOR SELECT USING 1 TO ALL EXCEPT {', '.join(ROLES)}"
        assert sum(each.endswith(everything) for each in statements) == 1, table


def test_the_command_says_what_it_takes(clickhouse: str) -> None:
    """The embedded ClickHouse keeps no users: it is refused with what to do, and the tables are as they were."""
    shown = CliRunner().invoke(migrate_command, ["--access", "--dry-run", "--clickhouse", clickhouse])
    done = CliRunner().invoke(migrate_command, ["--access", "--clickhouse", clickhouse])
    status = CliRunner().invoke(migrate_command, ["--status", "--clickhouse", clickhouse])

    assert "CREATE ROW POLICY" in shown.output
    assert (done.exit_code, shown.exit_code, status.exit_code) == (1, 0, 0)
    assert "may manage access" in done.stderr
    assert "9001" not in status.output

"""The views for BI sum to the lines, whatever was sent again and wherever the rollup stands."""

import random
import threading

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.sink.rollups import refresh
from tests.sink.support import a_line, client_of, insert, priced

_LINES = "FROM usage.usage_lines FINAL"
_PICO = "toInt256(sum(toDecimal256({}, 12)) * 1000000000000)"
_COUNTS = "sum(included), sum(granted), sum(overage), sum(blocked)"
_USED = "sumIf(quantity, kind = 'usage')"


def _pico(*names: str) -> str:
    return ", ".join(_PICO.format(name) for name in names)


def _sums(*names: str) -> str:
    return ", ".join(f"sum(toInt256({name}_pico))" for name in names)


_AMOUNTS = ("cost", "cost_charged", "margin", "surcharge", "charge", "provider_reward", "builder_earnings")
_STATEMENT = "customer, app, period, feature, unit"
_PARTS = f"{_STATEMENT}, workspace, deployment, environment, model"
_USAGE = "customer, app, builder, deployment, environment, workspace, feature, model, class, provider, unit, kind"
VIEWS = {
    "lines_v1": (
        f"SELECT customer, count(), {_pico(*_AMOUNTS)} FROM usage.lines_v1 GROUP BY customer",
        f"SELECT customer, count(), {_sums(*_AMOUNTS)} {_LINES} GROUP BY customer",
    ),
    "statements_v1": (
        f"SELECT {_STATEMENT}, sum(lines), sum(quantity), {_COUNTS}, {_pico('charge')} FROM usage.statements_v1 GROUP BY {_STATEMENT}",
        f"SELECT {_STATEMENT}, count(), {_USED}, {_COUNTS}, {_sums('charge')} {_LINES} GROUP BY {_STATEMENT}",
    ),
    "statement_details_v1": (
        f"SELECT {_PARTS}, sum(lines), sum(quantity), sum(input_tokens), {_pico('charge')} FROM usage.statement_details_v1 GROUP BY {_PARTS}",
        f"SELECT {_PARTS}, count(), {_USED}, sum(input_tokens), {_sums('charge')} {_LINES} GROUP BY {_PARTS}",
    ),
    "usage_daily_v1": (
        (
            f"SELECT day, late, {_USAGE}, sum(lines), sum(quantity), {_COUNTS}, {_pico(*_AMOUNTS)} FROM usage.usage_daily_v1 "
            f"GROUP BY day, late, {_USAGE}"
        ),
        (
            f"SELECT toDate(posted_at) AS day, late, {_USAGE}, count(), {_USED}, {_COUNTS}, {_sums(*_AMOUNTS)} {_LINES} "
            f"GROUP BY day, late, {_USAGE}"
        ),
    ),
    "usage_hourly_v1": (
        (
            f"SELECT hour, {_USAGE}, sum(lines), sum(quantity), {_COUNTS}, {_pico(*_AMOUNTS)} FROM usage.usage_hourly_v1 "
            f"GROUP BY hour, {_USAGE}"
        ),
        (
            f"SELECT toStartOfHour(posted_at) AS hour, {_USAGE}, count(), {_USED}, {_COUNTS}, {_sums(*_AMOUNTS)} {_LINES} "
            f"GROUP BY hour, {_USAGE}"
        ),
    ),
    "builder_earnings_v1": (
        (
            f"SELECT month, builder, app, customer, sum(lines), {_pico('charge', 'builder_earnings')} FROM usage.builder_earnings_v1 "
            "GROUP BY month, builder, app, customer"
        ),
        (
            f"SELECT toStartOfMonth(posted_at) AS month, builder, app, customer, count(), {_sums('charge', 'builder_earnings')} "
            f"{_LINES} GROUP BY month, builder, app, customer"
        ),
    ),
    "provider_rewards_v1": (
        (
            f"SELECT month, provider, model, sum(lines), {_pico('provider_reward')} FROM usage.provider_rewards_v1 "
            "GROUP BY month, provider, model"
        ),
        (
            f"SELECT toStartOfMonth(posted_at) AS month, provider, model, count(), {_sums('provider_reward')} {_LINES} "
            "GROUP BY month, provider, model"
        ),
    ),
    "margin_v1": (
        (
            f"SELECT month, customer, sum(lines), {_pico('cost', 'cost_charged', 'cost_carried', 'revenue', 'margin')} "
            "FROM usage.margin_v1 GROUP BY month, customer"
        ),
        (
            f"SELECT toStartOfMonth(posted_at) AS month, customer, count(), {_sums('cost', 'cost_charged')}, "
            "sum(toInt256(cost_pico)) - sum(toInt256(cost_charged_pico)), sum(toInt256(charge_pico)), "
            f"sum(toInt256(charge_pico)) - sum(toInt256(cost_pico)) {_LINES} GROUP BY month, customer"
        ),
    ),
    "postings_v1": (
        f"SELECT kind, account, count(), {_pico('amount')} FROM usage.postings_v1 GROUP BY kind, account",
        (
            "SELECT entry.1 AS kind, entry.2 AS account, count(), sum(toInt256(entry.3)) FROM (SELECT arrayJoin(["
            "('customer', customer, charge_pico), ('provider', toString(provider), -provider_reward_pico), "
            f"('builder', toString(builder), -builder_earnings_pico)]) AS entry {_LINES}) GROUP BY kind, account"
        ),
    ),
    "statement_states_v1": (
        "SELECT customer, app, period, sum(lines), max(last_seq) FROM usage.statement_states_v1 GROUP BY customer, app, period",
        f"SELECT customer, app, period, count(), max(seq) {_LINES} GROUP BY customer, app, period",
    ),
}
"""For each view a query of it, and the same of the lines themselves."""


def _some_lines(chance: random.Random, count: int) -> list[dict]:
    """Return lines of two customers over four days of two months, with every amount another."""
    numbers = dict.fromkeys("ab", 0)
    lines = []
    for _ in range(count):
        customer = chance.choice("ab")
        numbers[customer] += 1
        month, day = chance.choice([10, 11]), chance.randrange(1, 3)
        lines.append(
            a_line(
                customer,
                numbers[customer],
                period=f"2026-{month}-01",
                posted_at=f"2026-{month}-{day:02d}T{chance.randrange(24):02d}:30:00Z",
                late=chance.random() < 0.1,
                kind=(kind := chance.choice(["usage", "usage", "failed"])),
                quantity=(quantity := chance.randrange(1, 9)),
                overage=quantity if kind == "usage" else 0,
                **{name: chance.choice("xy") for name in ("workspace", "feature", "model", "deployment", "app")},
                **priced(chance.randrange(10**14), chance.randrange(-(10**12), 10**12), chance.randrange(10**12)),
            )
        )
    return lines


@pytest.mark.rule("R8.1", "R8.2", "R5.3")
def test_every_view_sums_to_the_lines_at_every_moment(store: Client) -> None:
    """Before the first refresh, in the middle, with blocks sent again, behind a missing line, and when all is rolled up."""
    chance = random.Random(7)
    lines = _some_lines(chance, 700)
    missing = lines.pop(400)

    def check(moment: str) -> None:
        for view, (of_view, of_lines) in VIEWS.items():
            found = store.query(f"{of_view} ORDER BY ALL").result_rows
            assert found, (moment, view)
            assert found == store.query(f"{of_lines} ORDER BY ALL").result_rows, (moment, view)

    insert(store, lines[:300])
    check("nothing is rolled up")
    refresh(store)
    check("all is rolled up")
    insert(store, lines[200:600])
    check("some is behind, some was sent again")
    refresh(store)
    check("a line is missing")
    insert(store, [missing, *lines[600:]])
    refresh(store)
    insert(store, lines[:50])
    check("all is rolled up, some was sent again")


def test_every_view_over_lines_is_checked(store: Client) -> None:
    """A view that comes is checked too."""
    views = store.query(
        "SELECT name FROM system.tables WHERE database = 'usage' AND name LIKE '%\\_v1' "
        "AND (as_select LIKE '%usage_lines%' OR as_select LIKE '%live_days%')"
    ).result_rows

    assert {name for (name,) in views} == set(VIEWS)


@pytest.mark.rule("R8.1")
def test_a_view_counts_each_line_once_while_the_rollup_is_refreshed(store: Client, clickhouse: str) -> None:
    """Lines come in and refreshes go on meanwhile: what a view counts was there, and nothing counts twice."""
    known, ended = [0], threading.Event()

    def write() -> None:
        client = client_of(clickhouse)
        for first in range(1, 400, 8):
            insert(client, [a_line("acme", seq) for seq in range(first, first + 8)])
            known[0] = first + 7
        client.close()
        ended.set()

    def roll_up() -> None:
        client = client_of(clickhouse)
        while not ended.is_set():
            refresh(client)
        client.close()

    threads = [threading.Thread(target=write), threading.Thread(target=roll_up)]
    for thread in threads:
        thread.start()
    counted = []
    while not ended.is_set():
        before = known[0]
        rows = store.query("SELECT sum(lines), max(last_seq) FROM usage.statement_states_v1").result_rows
        counted.append((before, *rows[0]))
    for thread in threads:
        thread.join()

    assert counted
    assert [each for each in counted if each[1] != each[2] or each[1] < each[0]] == []

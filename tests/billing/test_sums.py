"""Sums by whatever is asked for, from the rollup and the lines behind it, are those of usage.lines_v1."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.billing import read_statement
from pipeline.billing.daily import read_daily
from pipeline.billing.single_lines import read_lines_of
from pipeline.billing.statement_list import list_statements
from pipeline.billing.sums import DIMENSIONS, MEASURES, read_sums
from pipeline.sink.rollups import refresh
from tests.sink.support import a_line, client_of, insert, priced

CUSTOMERS = ("acme", "zeta")
KINDS = ("usage", "byok", "failed")
FIRST, BEHIND = date(2026, 11, 1), date(2026, 12, 1)
NAMES = {
    "app": ("docflow", "helpdesk"),
    "builder": ("east", "west"),
    "plan": ("team", "pro"),
    "deployment": ("d1", "d2"),
    "environment": ("production", "test"),
    "workspace": ("legal", "it", "büro 'x'"),
    "feature": ("search", "write"),
    "model": ("small", "large"),
    "class": ("standard", "premium"),
    "unit": ("document", "query"),
}


def made(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Return lines of two customers that differ in everything that can be asked for."""
    numbers = dict.fromkeys(CUSTOMERS, 0)
    lines = []
    for _ in range(count):
        customer = chance.choice(CUSTOMERS)
        numbers[customer] += 1
        names = {name: chance.choice(values) for name, values in NAMES.items()}
        kind = chance.choice(KINDS)
        quantity = chance.randrange(1, 9)
        days = {"posted_at": f"2026-11-{chance.randrange(1, 5):02d}T23:59:59.999999Z", "late": chance.random() < 0.2}
        amounts = priced(chance.randrange(10**14), chance.randrange(-(10**12), 10**12), chance.randrange(10**10))
        counts = {"quantity": quantity, "overage": quantity if kind == "usage" else 0}
        version = {"plan_version": chance.randrange(1, 3)}
        lines.append(a_line(customer, numbers[customer], kind=kind, **names, **days, **amounts, **counts, **version))
    return lines


@pytest.fixture
def half_rolled(store: Client) -> Client:
    """Give lines of which a part is rolled up, a part is not, a part was sent twice, and one is missing."""
    chance = random.Random(7)
    lines = made(chance, 160)
    del lines[120]
    for start in (0, 40):
        insert(store, lines[start : start + 40])
        refresh(store)
    insert(store, lines[80:])
    refresh(store)
    insert(store, chance.sample(lines, 30))
    return store


def direct(client: Client, by: tuple[str, ...], where: str = "1") -> list[tuple[Any, ...]]:
    """Return the sums from usage.lines_v1, whose amounts are decimals."""
    sides = {"day": "toDate(posted_at)", "month": "toStartOfMonth(toDate(posted_at))"}
    keys = [sides.get(name, name) for name in by]
    sums = {"lines": "toInt256(count())", "quantity": "toInt256(sumIf(lines_v1.quantity, kind = 'usage'))"}
    for name in MEASURES[2:]:
        amount = f"toInt256(reinterpretAsInt128({name.removesuffix('_pico')}))"
        sums[name] = f"sum({amount})" if name.endswith("_pico") else f"toInt256(sum(lines_v1.{name}))"
    grouped = f"GROUP BY {', '.join(keys)} ORDER BY {', '.join(keys)}"
    wanted = ", ".join([*keys, *(sums[name] for name in MEASURES)])
    found = client.query(f"SELECT {wanted} FROM usage.lines_v1 WHERE {where} {grouped}").result_rows
    return [tuple(row) for row in found]


@pytest.mark.rule("R8.1")
def test_sums_by_everything_that_can_be_asked_for(half_rolled: Client) -> None:
    """By each name alone, by pairs, by all of them: each measure is exact, each line counted once."""
    chance = random.Random(1)
    pairs = [tuple(chance.sample(DIMENSIONS, 2)) for _ in range(6)]

    for by in [*((name,) for name in (*DIMENSIONS, "month")), *pairs, DIMENSIONS]:
        assert [tuple(row.values()) for row in read_sums(half_rolled, by)] == direct(half_rolled, by), by


@pytest.mark.rule("R8.1")
def test_sums_of_what_is_asked_for(half_rolled: Client) -> None:
    """A customer, apps, a builder, days and any name narrow the sums; a value is never taken for SQL."""
    asked: list[tuple[dict[str, Any], str]] = [
        ({"customer": "acme", "period": FIRST}, "customer = 'acme' AND period = '2026-11-01'"),
        ({"apps": ["docflow"], "builder": "east"}, "app = 'docflow' AND builder = 'east'"),
        ({"since": date(2026, 11, 2), "until": date(2026, 11, 4)}, "toDate(posted_at) IN ('2026-11-02', '2026-11-03')"),
        ({"where": {"workspace": "büro 'x'", "kind": "byok"}}, "workspace = 'büro \\'x\\'' AND kind = 'byok'"),
        ({"customer": "acme", "since": date(2026, 11, 3)}, "customer = 'acme' AND toDate(posted_at) >= '2026-11-03'"),
    ]
    for arguments, where in asked:
        rows = [tuple(row.values()) for row in read_sums(half_rolled, ("feature", "unit"), **arguments)]

        assert rows == direct(half_rolled, ("feature", "unit"), where), arguments
        assert rows
    assert read_sums(half_rolled, ("feature",), customer="acme' OR 1 --") == []


@pytest.mark.rule("R8.1", "R5.4")
def test_statement_list_daily_lines_and_view_agree(half_rolled: Client) -> None:
    """The same cents and the same exact charges, wherever they are asked for."""
    for summary in list_statements(half_rolled):
        key = (summary.customer, summary.app, summary.period)
        statement = read_statement(half_rolled, *key)
        charges = {(row.feature, row.unit): row.charge_pico for row in statement.rows}

        lines = read_lines_of(half_rolled, *key, limit=1000)
        days = read_daily(
            half_rolled,
            customer=summary.customer,
            apps=[summary.app],
            since=FIRST,
            until=BEHIND,
            by=("day", "feature", "unit"),
        )
        view = half_rolled.query(
            "SELECT feature, unit, toInt256(reinterpretAsInt128(charge)) FROM usage.statements_v1 "
            "WHERE customer = {customer:String} AND app = {app:String} AND period = {period:Date}",
            parameters=dict(zip(("customer", "app", "period"), key, strict=True)),
        ).result_rows

        assert (statement.total_cents, len(lines)) == (summary.total_cents, summary.lines)
        assert {(feature, unit): pico for feature, unit, pico in view} == charges
        for (feature, unit), charge_pico in charges.items():
            of_row = [each for each in (*lines,) if (each["feature"], each["unit"]) == (feature, unit)]
            of_days = [each for each in days if (each["feature"], each["unit"]) == (feature, unit)]
            assert sum(each["charge_pico"] for each in of_row) == charge_pico
            assert sum(each["charge_pico"] for each in of_days) == charge_pico


@pytest.mark.rule("R8.1")
def test_a_reader_among_several_refreshers_counts_each_line_once(store: Client, clickhouse: str) -> None:
    """Line n costs n picodollars: while blocks come in and two sinks refresh, n lines always cost n (n + 1) / 2."""
    over = threading.Event()
    lines = [
        a_line("acme", seq, posted_at=f"2026-11-{1 + seq // 100:02d}T00:00:00Z", **priced(seq, 0))
        for seq in range(1, 401)
    ]

    def refreshing() -> int:
        client = client_of(clickhouse)
        refreshed = 0
        while not over.is_set():
            refreshed += refresh(client)
        client.close()
        return refreshed

    def reading(customer: str | None) -> list[tuple[int, int]]:
        client = client_of(clickhouse)
        seen = []
        while not over.is_set():
            seen += [(row["lines"], row["charge_pico"]) for row in read_sums(client, (), customer=customer)]
        client.close()
        return seen

    with ThreadPoolExecutor(4) as pool:
        refreshers = [pool.submit(refreshing) for _ in range(2)]
        readers = [pool.submit(reading, customer) for customer in ("acme", None)]
        try:
            for start in range(0, len(lines), 10):
                insert(store, lines[start : start + 10])
        finally:
            over.set()
        seen = [each for reader in readers for each in reader.result()]

    assert sum(refresher.result() for refresher in refreshers) > 0
    assert seen
    assert [(count, pico) for count, pico in seen if pico != count * (count + 1) // 2] == []
    assert read_sums(store, (), measures=("lines",)) == [{"lines": 400}]

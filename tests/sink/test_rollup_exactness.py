"""Whatever is sent again, refreshed or missing: sums from the rollup and the lines behind it are the sums of the lines."""

import random
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.billing import read_statement
from pipeline.billing.single_lines import read_lines_of
from pipeline.billing.statement_list import list_statements
from pipeline.billing.sums import MEASURES, read_sums
from pipeline.domain.statements import DIMENSIONS
from pipeline.sink.rollups import refresh
from tests.sink.support import a_line, insert, priced

_DIRECT = """
SELECT customer, feature, toStartOfMonth(posted_at), count(), sumIf(quantity, kind = 'usage'), sum(toInt256(charge_pico))
FROM usage.usage_lines FINAL GROUP BY ALL ORDER BY ALL
"""
_CLOSING = {"id": "c", "customer": "a", "app": "helpdesk", "period": "2026-11-01", "closed_at": "2026-12-04 00:00:00"}


@pytest.fixture
def empty(store: Client) -> Client:
    """Return a client of a ClickHouse without lines, rollup and closings."""
    for table in ("rollup_days", "line_heads", "closings"):
        store.command(f"TRUNCATE TABLE usage.{table}")
    return store


def made(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Return lines of three customers, over several days, in the order of their numbers."""
    numbers = dict.fromkeys("abc", 0)
    lines = []
    for _ in range(count):
        customer = chance.choice("abc")
        numbers[customer] += 1
        day = f"2026-11-{chance.randrange(1, 5):02d}T12:00:00Z"
        more = {"feature": chance.choice(["f", "g"]), "workspace": chance.choice(["w", "v"]), "posted_at": day}
        lines.append(a_line(customer, numbers[customer], **more, **priced(chance.randrange(10**13), 10**9)))
    return lines


def summed(client: Client) -> list[tuple[Any, ...]]:
    rows = read_sums(client, ("customer", "feature", "month"))
    names = ("customer", "feature", "month", "lines", "quantity", "charge_pico")
    return [tuple(row[name] for name in names) for row in rows]


@pytest.mark.rule("R8.1")
@pytest.mark.parametrize("seed", range(4))
def test_sums_are_those_of_the_lines_at_every_moment(empty: Client, seed: int) -> None:
    """Blocks come in part twice and out of order; refreshes come in between; a missing line comes at the very end."""
    chance = random.Random(seed)
    lines = made(chance, 120)
    missing = lines.pop(chance.randrange(40))
    blocks = [lines[start : start + 15] for start in range(0, len(lines), 15)]
    sent: list[list[dict[str, Any]]] = []
    for block in blocks:
        sent.append(block)
        for again in [block, *chance.sample(sent, min(2, len(sent)))]:
            insert(empty, again)
        if chance.random() < 0.6:
            refresh(empty)
        assert summed(empty) == empty.query(_DIRECT).result_rows

    insert(empty, [missing])

    assert summed(empty) == empty.query(_DIRECT).result_rows
    refresh(empty)
    assert summed(empty) == empty.query(_DIRECT).result_rows
    assert refresh(empty) == 0


def test_a_refresh_is_one_part(empty: Client) -> None:
    """All of its rows become visible together, so that a crash can show no half of them."""
    insert(empty, made(random.Random(1), 200))

    refresh(empty)

    parts = empty.command(
        "SELECT count() FROM system.parts WHERE table = 'rollup_days' AND active AND database = 'usage'"
    )
    assert parts == 1


@pytest.mark.rule("R8.1", "R5.4")
def test_statement_list_parts_and_lines_agree(empty: Client) -> None:
    """With half of the lines rolled up, by every dimension: the same cents and the same exact charges."""
    lines = made(random.Random(2), 80)
    insert(empty, lines[:40])
    refresh(empty)
    insert(empty, lines[40:])

    totals = {each.customer: each.total_cents for each in list_statements(empty)}

    for customer in "abc":
        single = read_lines_of(empty, customer, "helpdesk", "2026-11-01", limit=1000)
        for dimension in DIMENSIONS:
            statement = read_statement(empty, customer, "helpdesk", "2026-11-01", dimension)
            assert statement.total_cents == totals[customer]
            assert sum(part.charge_pico for row in statement.rows for part in row.detail) == sum(
                line["charge_pico"] for line in single
            )


@pytest.mark.rule("R10.3")
def test_a_closing_freezes_the_statement(empty: Client) -> None:
    """The first closing counts, whatever is sent again."""
    insert(empty, made(random.Random(3), 30))
    rows = [[*_CLOSING.values(), cut_off, "", 0, offset] for cut_off, offset in ((7, 1), (9, 2), (7, 1))]
    names = ", ".join([*_CLOSING, "cut_off", "catalog", "kafka_partition", "kafka_offset"])
    for row in rows:
        empty.command(f"INSERT INTO usage.closings ({names}) VALUES {tuple(row)}")

    statement = read_statement(empty, "a", "helpdesk", "2026-11-01")

    assert (statement.state, statement.cut_off) == ("frozen", 7)
    assert read_statement(empty, "b", "helpdesk", "2026-11-01").state is None


def test_what_is_no_dimension_is_refused(empty: Client) -> None:
    """Names never come into a query from outside."""
    with pytest.raises(ValueError, match="is none of customer, period"):
        read_sums(empty, ("customer; DROP TABLE usage.usage_lines",))
    assert len(MEASURES) == 16

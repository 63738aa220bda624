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
def test_sums_are_those_of_the_lines_at_every_moment(store: Client, seed: int) -> None:
    """Blocks come in part twice and out of order; refreshes come in between; a missing line comes at the very end."""
    chance = random.Random(seed)
    lines = made(chance, 120)
    missing = lines.pop(chance.randrange(40))
    blocks = [lines[start : start + 15] for start in range(0, len(lines), 15)]
    sent: list[list[dict[str, Any]]] = []
    for block in blocks:
        sent.append(block)
        for again in [block, *chance.sample(sent, min(2, len(sent)))]:
            insert(store, again)
        if chance.random() < 0.6:
            refresh(store)
        assert summed(store) == store.query(_DIRECT).result_rows

    insert(store, [missing])

    assert summed(store) == store.query(_DIRECT).result_rows
    refresh(store)
    assert summed(store) == store.query(_DIRECT).result_rows
    assert refresh(store) == 0


def test_a_refresh_is_one_part(store: Client) -> None:
    """All of its rows become visible together, so that a crash can show no half of them."""
    insert(store, made(random.Random(1), 200))

    refresh(store)

    parts = store.command(
        "SELECT count() FROM system.parts WHERE table = 'rollup_days' AND active AND database = 'usage'"
    )
    assert parts == 1


@pytest.mark.rule("R8.1", "R5.4")
def test_statement_list_parts_and_lines_agree(store: Client) -> None:
    """With half of the lines rolled up, by every dimension: the same cents and the same exact charges."""
    lines = made(random.Random(2), 80)
    insert(store, lines[:40])
    refresh(store)
    insert(store, lines[40:])

    totals = {each.customer: each.total_cents for each in list_statements(store)}

    for customer in "abc":
        single = read_lines_of(store, customer, "helpdesk", "2026-11-01", limit=1000)
        for dimension in DIMENSIONS:
            statement = read_statement(store, customer, "helpdesk", "2026-11-01", dimension)
            assert statement.total_cents == totals[customer]
            assert sum(part.charge_pico for row in statement.rows for part in row.detail) == sum(
                line["charge_pico"] for line in single
            )


@pytest.mark.rule("R10.3")
def test_a_closing_freezes_the_statement(store: Client) -> None:
    """The first closing counts, whatever is sent again."""
    insert(store, made(random.Random(3), 30))
    rows = [[*_CLOSING.values(), cut_off, "", 0, offset] for cut_off, offset in ((7, 1), (9, 2), (7, 1))]
    names = ", ".join([*_CLOSING, "cut_off", "catalog", "kafka_partition", "kafka_offset"])
    for row in rows:
        store.command(f"INSERT INTO usage.closings ({names}) VALUES {tuple(row)}")

    statement = read_statement(store, "a", "helpdesk", "2026-11-01")

    assert (statement.state, statement.cut_off) == ("frozen", 7)
    assert read_statement(store, "b", "helpdesk", "2026-11-01").state is None


def test_what_is_no_dimension_is_refused(store: Client) -> None:
    """Names never come into a query from outside."""
    with pytest.raises(ValueError, match="is none of customer, period"):
        read_sums(store, ("customer; DROP TABLE usage.usage_lines",))
    assert len(MEASURES) == 16

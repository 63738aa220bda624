"""Tests of the table and its views: each line once and exact, whatever was sent."""

import itertools
import random
from datetime import UTC, date, datetime
from decimal import Context, Decimal

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sink.support import CASES, a_line, expected, insert, priced

AMOUNTS = ("cost", "cost_charged", "margin", "surcharge", "charge", "provider_reward", "builder_earnings")
MAX_PICO = 10**38 - 1
VIOLATED_CONSTRAINT = 469


def shown(client: Client) -> list[dict]:
    """Return what lines_v1 shows, in the words of R7.1, amounts back as picodollars."""
    found = client.query("SELECT * EXCEPT (catalog, provider) FROM usage.lines_v1 ORDER BY customer, seq")
    lines = []
    for row in found.named_results():
        line = dict(row)
        for name in AMOUNTS:
            amount = line.pop(name)
            assert isinstance(amount, Decimal)
            line[f"{name}_pico"] = int(amount.scaleb(12, Context(prec=60)))
        for name in ("time", "posted_at"):
            line[name] = line[name].replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        line["period"] = line["period"].isoformat()
        lines.append(line)
    return lines


def seqs_shown(client: Client, customer: str, period: date) -> list[int]:
    """Return the line numbers that lines_v1 shows to a reader who asks for one customer and period."""
    found = client.query(
        "SELECT seq FROM usage.lines_v1 WHERE customer = {customer:String} AND period = {period:Date} ORDER BY seq",
        parameters={"customer": customer, "period": period},
    )
    return [seq for (seq,) in found.result_rows]


@pytest.mark.rule("R7.1", "R5.3")
@pytest.mark.parametrize("case", CASES)
def test_the_view_shows_the_lines_that_were_sent(store: Client, case: str) -> None:
    """Every column of every conformance line comes back as it was, each line once though it was sent twice."""
    lines = expected(case, "lines.ndjson")
    sent = [{**line, "version": 7} for line in lines]
    random.Random(case).shuffle(sent)
    middle = len(sent) // 2

    insert(store, sent[: middle + 50])
    insert(store, sent[middle - 50 :])

    by_key = sorted(lines, key=lambda line: (line["customer"], line["seq"]))
    assert shown(store) == by_key


@pytest.mark.rule("R7.1", "R5.3")
def test_the_view_has_the_columns_and_types_it_promises(store: Client) -> None:
    """The names of R7.1, catalog and provider; amounts as Decimal(38, 12) without the suffix, times in UTC."""
    types = dict(
        store.query("SELECT name, type FROM system.columns WHERE database = 'usage' AND table = 'lines_v1'").result_rows
    )

    assert set(types) == {name.removesuffix("_pico") for name in a_line("c", 1)} - {"version"} | {"catalog", "provider"}
    assert {types[name] for name in AMOUNTS} == {"Decimal(38, 12)"}
    assert types["time"] == types["posted_at"] == "DateTime64(6, 'UTC')"
    assert types["period"] == "Date"
    assert types["late"] == "Bool"


@pytest.mark.rule("R5.3")
@pytest.mark.parametrize(
    ("cost", "margin"),
    [(1, 0), (0, -1), (2**64 + 1, -1), (10**30 + 1, -(2**65)), (MAX_PICO, 0), (0, -MAX_PICO), (MAX_PICO, -MAX_PICO)],
)
def test_amounts_are_exact_to_the_picodollar(store: Client, cost: int, margin: int) -> None:
    """Amounts beyond 64 bits, negative ones and single picodollars pass without loss."""
    line = a_line("acme", 1, **priced(cost, margin))

    insert(store, [line])

    del line["version"]
    assert shown(store) == [line]


@pytest.mark.rule("R7.2")
def test_the_largest_version_counts_in_whatever_order_it_came(store: Client) -> None:
    """A line that was rated again replaces the earlier rating, also when the earlier one is sent again afterwards."""
    old = a_line("acme", 1, version=4)
    new = a_line("acme", 1, version=5, **priced(0, 0))

    for line in (old, new, old):
        insert(store, [line])

    assert [line["charge_pico"] for line in shown(store)] == [0]


@pytest.mark.rule("R7.2")
def test_a_later_version_in_another_period_leaves_the_first_one(store: Client) -> None:
    """A line that moves to another period on replay is shown there only, also to a reader who asks for one period."""
    insert(store, [a_line("acme", seq, version=1) for seq in range(1, 4)])
    insert(store, [a_line("acme", 2, version=2, period="2026-12-01")])

    assert seqs_shown(store, "acme", date(2026, 11, 1)) == [1, 3]
    assert seqs_shown(store, "acme", date(2026, 12, 1)) == [2]


@pytest.mark.rule("R7.2")
def test_the_table_is_ordered_by_the_identity_and_not_partitioned(store: Client) -> None:
    """Any other key would part the versions of a line, on some ClickHouse or other (docs/decisions/0010)."""
    keys = store.query(
        "SELECT sorting_key, partition_key FROM system.tables WHERE database = 'usage' AND name = 'usage_lines'"
    ).result_rows

    assert keys == [("customer, seq", "")]


_case = itertools.count()


@pytest.mark.rule("R7.2")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sent=st.lists(
        st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=6),
        min_size=1,
        max_size=5,
    )
)
def test_any_sending_shows_the_largest_version_of_each_line(store: Client, sent: list[list[tuple[int, int]]]) -> None:
    """Blocks of (seq, version, month) in any order and cutting: each period shows exactly its lines' largest versions."""
    customer = f"random-{next(_case)}"
    largest: dict[int, tuple[int, int]] = {}
    for block in sent:
        # What a version says is fixed: the same (seq, version) never comes with two contents.
        lines = [(seq, version, (seq * version + version) % 3 + 1) for seq, version in block]
        insert(store, [a_line(customer, seq, version, period=f"2026-{month:02d}-01") for seq, version, month in lines])
        for seq, version, month in lines:
            largest[seq] = max(largest.get(seq, (0, 0)), (version, month))

    for month in (1, 2, 3):
        of_month = sorted(seq for seq, (_, last) in largest.items() if last == month)
        assert seqs_shown(store, customer, date(2026, month, 1)) == of_month


@pytest.mark.parametrize("view", ["lines_v1", "statements_v1"])
def test_a_filter_on_customer_and_period_reaches_the_indexes(store: Client, view: str) -> None:
    """Asking a view for one customer and period does not read the table."""
    insert(store, [a_line("acme", 1), a_line("other", 1)])

    plan = "\n".join(
        row[0]
        for row in store.query(
            f"EXPLAIN indexes = 1 SELECT * FROM usage.{view} WHERE customer = 'acme' AND period = '2026-11-01'"
        ).result_rows
    )

    assert "customer in ['acme', 'acme']" in plan
    assert "by_period" in plan


@pytest.mark.rule("R8.1")
def test_the_statements_view_sums_each_row_once(store: Client) -> None:
    """Quantities count kind `usage` only, charges of every kind, re-sent lines once."""
    lines = [
        a_line("acme", 1, quantity=3, overage=1, included=2, pools=[{"id": "p", "scope_value": "", "units": 2}]),
        a_line("acme", 2, kind="failed", quantity=5, overage=0, **priced(7, 0)),
    ]

    insert(store, lines)
    insert(store, lines)

    found = store.query("SELECT * FROM usage.statements_v1").result_rows
    charge = Decimal("1.000000000007")
    assert found == [
        ("acme", "helpdesk", date(2026, 11, 1), "contract-extraction", "document", 3, 2, 0, 1, 0, charge, 2)
    ]


ABSENT_IS_REFUSED = sorted(set(a_line("c", 1)) - {"late", "builder", "plan_version", "class", "request_type", "pools"})


@pytest.mark.parametrize("name", ABSENT_IS_REFUSED)
def test_a_line_without_a_field_is_refused(store: Client, name: str) -> None:
    """A missing number does not count as 0, a missing name not as ''."""
    line = a_line("acme", 1)
    del line[name]

    with pytest.raises(DatabaseError) as refused:
        insert(store, [line])

    assert refused.value.code == VIOLATED_CONSTRAINT
    assert shown(store) == []


@pytest.mark.rule("R7.3", "R6.9", "R6.7")
@pytest.mark.parametrize(
    "change",
    [
        {"overage": 2},
        {"kind": "byok"},
        {"charge_pico": 1},
        {"builder_earnings_pico": 1},
        {"included": 1, "overage": 0},
        {"kind": "unheard-of"},
        {"quantity": None},
        {"seq": 0},
        {"cost_pico": 10**38},
    ],
    ids=str,
)
def test_a_line_that_does_not_add_up_is_refused(store: Client, change: dict) -> None:
    """The table itself holds conservation: what would break it is not stored."""
    with pytest.raises(DatabaseError) as refused:
        insert(store, [{**a_line("acme", 1), **change}])

    assert refused.value.code == VIOLATED_CONSTRAINT
    assert shown(store) == []


def test_times_keep_their_microseconds(store: Client) -> None:
    """Times are stored in UTC to the microsecond."""
    insert(store, [a_line("acme", 1, time="1999-12-31T23:59:59.999999Z")])

    (row,) = store.query("SELECT time FROM usage.lines_v1").result_rows
    assert row[0] == datetime(1999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001 - the client gives UTC without a zone

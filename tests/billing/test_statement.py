"""Tests of the statement that is read from ClickHouse."""

from datetime import datetime

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.billing import NoStatementError, only_app, read_freshness, read_statement
from pipeline.domain.statements import DIMENSIONS
from tests.sink.support import CASES, a_line, expected, insert, priced


@pytest.mark.rule("R8.1", "R5.4")
@pytest.mark.parametrize("case", CASES)
def test_it_equals_the_offline_statement(store: Client, case: str) -> None:
    """Every expected statement is read back, to the picodollar, though half of the lines were sent twice."""
    lines = [{**line, "version": 3} for line in expected(case, "lines.ndjson")]
    insert(store, lines)
    insert(store, lines[::2])

    for statement in expected(case, "statements.json"):
        assert (
            read_statement(store, statement["customer"], statement["app"], statement["period"]).as_dict() == statement
        )


@pytest.mark.rule("R8.1")
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_detail_sums_to_its_row(store: Client, dimension: str) -> None:
    """The parts of a row add up to it, and the statement is the same with and without detail."""
    lines = [{**line, "version": 3} for line in expected("case2", "lines.ndjson")]
    insert(store, lines)

    for plain in expected("case2", "statements.json")[:6]:
        detailed = read_statement(store, plain["customer"], plain["app"], plain["period"], dimension).as_dict()
        for row in detailed["rows"]:
            detail = row.pop("detail")
            assert sum(part["charge_pico"] for part in detail) == row["charge_pico"]
            assert sum(part["quantity"] for part in detail) == row["quantity"]
            of_row = [
                line
                for line in lines
                if all(line[name] == plain[name] for name in ("customer", "app", "period"))
                and (line["feature"], line["unit"]) == (row["feature"], row["unit"])
            ]
            assert [part[dimension] for part in detail] == sorted({line[dimension] for line in of_row})
            assert sum(part["input_tokens"] for part in detail) == sum(line["input_tokens"] for line in of_row)
        assert detailed == plain


@pytest.mark.rule("R5.3", "R8.1")
def test_sums_beyond_the_width_of_one_line_are_exact(store: Client) -> None:
    """Lines that fill Decimal(38, 12) each are summed without wrapping."""
    insert(store, [a_line("acme", seq, **priced(10**38 - 1, 0)) for seq in range(1, 6)])

    (row,) = read_statement(store, "acme", "helpdesk", "2026-11-01").rows

    assert row.charge_pico == 5 * (10**38 - 1)


def test_a_line_that_moved_is_billed_in_its_new_period_only(store: Client) -> None:
    """A later version in another period leaves the first statement and enters the other."""
    insert(store, [a_line("acme", 1), a_line("acme", 2)])
    insert(store, [a_line("acme", 2, version=2, period="2026-12-01")])

    quantities = [
        read_statement(store, "acme", "helpdesk", period).rows[0].quantity for period in ("2026-11-01", "2026-12-01")
    ]

    assert quantities == [1, 1]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (("acmee", "helpdesk", "2026-11-01"), "no lines of customer 'acmee'; did you mean 'acme'?"),
        (
            ("acme", "helpdsk", "2026-11-01"),
            "for app 'helpdsk'; did you mean 'helpdesk'?; apps with lines: docflow, helpdesk",
        ),
        (("acme", "docflow", "2026-11-01"), "in period 2026-11-01; periods with lines: 2026-12-01"),
        (("acme", "helpdesk", "2026-10-01"), "in period 2026-10-01; periods with lines: 2026-11-01, 2026-12-01"),
        (("acme", "helpdesk", "November"), "'November' is no period: a period is named by its first day"),
        (("acme' OR 1 = 1 --", "helpdesk", "2026-11-01"), 'no lines of customer "acme\' OR 1 = 1 --"'),
        (("acme\\", "helpdesk", "2026-11-01"), "no lines of customer 'acme"),
    ],
)
def test_what_is_not_there_is_explained(store: Client, request_: tuple[str, str, str], message: str) -> None:
    """An unknown customer, app or period is named, with what there is instead."""
    insert(
        store,
        [
            a_line("acme", 1),
            a_line("acme", 2, period="2026-12-01"),
            a_line("acme", 3, app="docflow", period="2026-12-01"),
        ],
    )

    with pytest.raises(NoStatementError) as explained:
        read_statement(store, *request_)

    assert message in str(explained.value)


def test_an_empty_store_says_so(store: Client) -> None:
    """Without any line the message does not suggest a customer."""
    with pytest.raises(NoStatementError, match="no lines at all yet"):
        read_statement(store, "acme", "helpdesk", "2026-11-01")


def test_the_app_may_be_left_out_when_there_is_one(store: Client) -> None:
    """One app is found, several are a choice to make, none is explained."""
    insert(
        store,
        [
            a_line("acme", 1),
            a_line("acme", 2, period="2026-12-01"),
            a_line("acme", 3, app="docflow", period="2026-12-01"),
        ],
    )

    assert only_app(store, "acme", "2026-11-01") == "helpdesk"
    with pytest.raises(NoStatementError, match="choose one: docflow, helpdesk"):
        only_app(store, "acme", "2026-12-01")
    with pytest.raises(NoStatementError, match="no lines of customer 'nobody'"):
        only_app(store, "nobody", "2026-12-01")


def test_freshness_is_the_sinks_last_insert(store: Client) -> None:
    """It counts the latest position of each partition."""
    assert read_freshness(store) is None
    store.command(
        "INSERT INTO usage.sink_positions VALUES ('usage.lines', 0, 5, '2026-11-03 10:00:00'), "
        "('usage.lines', 0, 9, '2026-11-03 11:00:00'), ('usage.lines', 1, 2, '2026-11-03 09:00:00')"
    )

    freshness = read_freshness(store)

    assert freshness is not None
    assert freshness.at == datetime(2026, 11, 3, 11)  # noqa: DTZ001 - the client gives UTC without a zone
    assert freshness.partitions == 2

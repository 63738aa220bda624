"""Tests of explanations of lines that are read from ClickHouse."""

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.billing.explain_line import NoLineError, explain_line, read_history, read_line
from pipeline.codec.lines import encode_lines
from pipeline.domain.explanations_history import History
from tests.billing.explain_support import put, rated
from tests.domain.explained import history_of


def ordered(history: History) -> tuple:
    return (
        history.lines,
        sorted(map(repr, history.pools)),
        sorted(map(repr, history.shapes)),
        sorted(map(repr, history.grants)),
    )


@pytest.mark.rule("R4.5", "R6.4", "R6.7")
def test_what_came_before_is_read_as_the_lines_have_it(store: Client) -> None:
    """Balances, counters and grants before a line are those that the earlier lines add up to, though lines were sent twice."""
    lines = rated().lines
    put(store, lines)
    put(store, lines[::2])
    some = [line for line in lines if line.pools or line.late or line.blocked][::7]

    for line in some:
        assert encode_lines([read_line(store, line.customer, line.seq)]) == encode_lines([line])
        assert ordered(read_history(store, line)) == ordered(history_of(line, lines))


@pytest.mark.rule("R6.4", "R6.5", "R6.7")
def test_lines_are_explained_from_clickhouse_alone(store: Client) -> None:
    """Each is rated again from the catalog that it names and comes out as it is."""
    made = rated()
    put(store, made.lines)
    catalog_of = {made.catalog.digest: made.catalog}.__getitem__

    found = [explain_line(store, catalog_of, line.customer, line.seq) for line in made.lines[::10]]

    assert [each.differences for each in found if not each.verified] == []


def test_a_line_that_is_not_there_is_told(store: Client) -> None:
    """The message says which lines there are; another customer's do not count."""
    made = rated()
    put(store, made.lines)
    customer = made.lines[0].customer
    last = max(line.seq for line in made.lines if line.customer == customer)

    with pytest.raises(NoLineError, match=f"has no line {last + 1}; its lines are 1 to {last}"):
        read_line(store, customer, last + 1)
    with pytest.raises(NoLineError, match='no lines of customer "x\' OR 1 = 1 --"'):
        read_line(store, "x' OR 1 = 1 --", 1)

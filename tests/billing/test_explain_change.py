"""Tests of why a bill changed, read from ClickHouse."""

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.billing import NoStatementError, read_statement
from pipeline.billing.explain_change import explain_change
from tests.billing.explain_support import put, rated
from tests.sink.support import a_line, insert


@pytest.mark.rule("R5.4", "R8.1")
def test_sentences_sum_to_the_difference_of_the_statements(store: Client) -> None:
    """For every statement of a random journal against the one before it, and against nothing."""
    made = rated()
    put(store, made.lines)

    for customer, app, period in made.bills():
        found = explain_change(store, customer, app, period)
        total = read_statement(store, customer, app, period).total_cents
        before = 0 if found.against is None else read_statement(store, customer, app, found.against).total_cents
        earlier = [name for who, what, name in made.bills() if (who, what) == (customer, app) and name < period]
        assert found.against == (max(earlier) if earlier else None)
        assert bool(found.notes) == (not earlier)
        assert (found.old_cents, found.new_cents) == (before, total)
        assert sum(each.cents for each in found.sentences) == total - before


@pytest.mark.rule("R10.3")
def test_a_frozen_statement_is_compared_up_to_its_cut_off(store: Client) -> None:
    """What stands behind the cut-off is not in the statement."""
    insert(store, [a_line("acme", seq) for seq in (1, 2, 3)])
    store.command("TRUNCATE TABLE usage.closings")
    store.command(
        "INSERT INTO usage.closings (id, customer, app, period, cut_off, closed_at) "
        "VALUES ('c', 'acme', 'helpdesk', '2026-11-01', 2, '2026-12-05 00:00:00')"
    )

    found = explain_change(store, "acme", "helpdesk", "2026-11-01")
    store.command("TRUNCATE TABLE usage.closings")

    assert found.new_cents == 200


def test_a_period_without_usage_counts_as_nothing(store: Client) -> None:
    """To compare with it is allowed, and said; to ask for it is not."""
    insert(store, [a_line("acme", 1)])

    found = explain_change(store, "acme", "helpdesk", "2026-11-01", "2026-09-01")

    assert found.notes == ("acme used nothing of helpdesk in period 2026-09-01: it is compared with nothing.",)
    with pytest.raises(NoStatementError, match="periods with lines: 2026-11-01"):
        explain_change(store, "acme", "helpdesk", "2026-10-01", "2026-11-01")
    with pytest.raises(NoStatementError, match="'October' is no period"):
        explain_change(store, "acme", "helpdesk", "2026-11-01", "October")

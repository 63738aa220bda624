"""Tests of the audit's checks of what is kept beside the lines: the rollup, and closings."""

import pytest

from pipeline.sink.rollups import refresh
from tests.billing.audit_support import Audited

pytest_plugins = ["tests.billing.audit_fixtures"]


@pytest.mark.rule("R8.1", "R5.3")
def test_a_rollup_that_is_not_the_sum_of_its_lines_is_found(audited: Audited) -> None:
    """One picodollar in one row is found, with both values; a sound rollup is clean."""
    refresh(audited.client)
    audited.audit(code=0)
    line = audited.of_period()[0]
    where = f"customer = '{line['customer']}' AND period = '{line['period']}' AND feature = '{line['feature']}'"
    found = audited.client.query(f"SELECT day, workspace, model FROM usage.rollup_days FINAL WHERE {where} LIMIT 1")
    ((day, workspace, model),) = found.result_rows

    audited.client.command(
        f"ALTER TABLE usage.rollup_days UPDATE builder_earnings_pico = builder_earnings_pico + 1 "
        f"WHERE {where} AND day = '{day}' AND workspace = '{workspace}' AND model = '{model}'",
        settings={"mutations_sync": 1},
    )
    checks = audited.checks("--wait", "0")

    findings = checks["rollup"]["findings"]
    assert {finding["customer"] for finding in findings} == {line["customer"]}
    for finding in findings:
        differing = {name for name in finding["found"] if finding["found"][name] != finding["expected"][name]}
        assert differing == {"builder_earnings_pico"}
        assert finding["found"]["builder_earnings_pico"] == finding["expected"]["builder_earnings_pico"] + 1


@pytest.mark.rule("R8.1")
def test_rows_that_are_gone_from_the_rollup_are_found(audited: Audited) -> None:
    """All rows of a customer but one are deleted: each is missed."""
    refresh(audited.client)
    line = audited.of_period()[0]
    of_customer = f"customer = '{line['customer']}'"
    ((last,),) = audited.client.query(f"SELECT max(last_seq) FROM usage.rollup_days WHERE {of_customer}").result_rows
    deleted = f"{of_customer} AND period = '{line['period']}' AND last_seq != {last}"
    ((gone,),) = audited.client.query(f"SELECT count() FROM usage.rollup_days FINAL WHERE {deleted}").result_rows
    assert gone

    audited.client.command(f"ALTER TABLE usage.rollup_days DELETE WHERE {deleted}", settings={"mutations_sync": 1})
    checks = audited.checks("--wait", "0")

    assert checks["rollup"]["count"] == gone


@pytest.mark.rule("R10.3", "R3.2")
def test_a_line_behind_the_cut_off_of_a_frozen_statement_is_found(audited: Audited) -> None:
    """A closing at the customer's last line is clean; one that lies before it names what came later."""
    last = max(audited.of_period(), key=lambda line: line["seq"])
    closing = "INSERT INTO usage.closings (id, customer, app, period, cut_off, closed_at) VALUES"
    row = f"('c', '{last['customer']}', '{last['app']}', '{last['period']}', {{}}, '2030-01-01 00:00:00')"

    audited.client.command(f"{closing} {row.format(last['seq'])}")
    audited.audit(code=0)
    audited.client.command("TRUNCATE TABLE usage.closings")
    audited.client.command(f"{closing} {row.format(last['seq'] - 1)}")
    checks = audited.checks("--wait", "0")

    assert set(checks) == {"frozen statements"}
    (finding,) = checks["frozen statements"]["findings"]
    assert (finding["customer"], finding["seq"]) == (last["customer"], last["seq"])
    assert int(finding["expected"]) == last["seq"] - 1

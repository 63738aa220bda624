"""Tests of statements built from lines, without ClickHouse."""

import pytest

from pipeline.domain.statements import DetailRow, Statement, StatementBuilder, StatementRow
from tests.sink.support import CASES, a_line, expected

FIELDS = (
    *("customer", "app", "period", "feature", "unit", "kind"),
    *("quantity", "included", "granted", "overage", "blocked", "charge_pico"),
)


def built(lines: list[dict]) -> list[Statement]:
    """Return the statements of lines."""
    builder = StatementBuilder()
    for line in lines:
        builder.add(**{name: line[name] for name in FIELDS})
    return builder.statements()


@pytest.mark.rule("R8.1", "R5.4")
@pytest.mark.parametrize("case", CASES)
def test_statements_of_the_conformance_lines(case: str) -> None:
    """The expected statements follow from the expected lines."""
    statements = built(expected(case, "lines.ndjson"))

    assert [statement.as_dict() for statement in statements] == expected(case, "statements.json")


@pytest.mark.rule("R8.1")
def test_only_usage_counts_but_every_kind_is_charged() -> None:
    """A failed event of five documents adds its charge and no documents."""
    (statement,) = built([a_line("acme", 1), a_line("acme", 2, kind="failed", quantity=5, overage=0)])

    (row,) = statement.rows
    assert (row.quantity, row.overage, row.charge_pico) == (1, 1, 2 * 10**12)


@pytest.mark.rule("R5.4")
@pytest.mark.parametrize(
    ("charge_pico", "amount"),
    [
        (4_999_999_999, "0.00"),
        (5_000_000_000, "0.00"),
        (5_000_000_001, "0.01"),
        (15_000_000_000, "0.02"),
        (25_000_000_000, "0.02"),
        (-5_000_000_000, "0.00"),
        (-15_000_000_000, "-0.02"),
        (10**38 - 1, "100000000000000000000000000.00"),
    ],
)
def test_a_row_is_rounded_half_to_even(charge_pico: int, amount: str) -> None:
    """Halves of a cent go to the even cent, below zero too."""
    assert StatementRow("f", "u", 1, 0, 0, 1, 0, charge_pico).as_dict()["amount"] == amount


@pytest.mark.rule("R5.4")
def test_the_total_is_the_sum_of_the_rounded_rows() -> None:
    """Three rows of 0.6 cents each make 3 cents, not 2."""
    rows = tuple(StatementRow("f", unit, 1, 0, 0, 1, 0, 6 * 10**9) for unit in "abc")

    assert Statement("acme", "helpdesk", "2026-11-01", rows).as_dict()["total"] == "0.03"


@pytest.mark.rule("R8.1")
def test_detail_stands_under_its_dimension_with_exact_charges() -> None:
    """A part is named by its dimension and keeps all decimals."""
    part = DetailRow("legal", 1, 0, 0, 1, 0, -1, 10, 2, 3)
    row = StatementRow("f", "u", 1, 0, 0, 1, 0, -1, (part,))

    (shown,) = Statement("acme", "helpdesk", "2026-11-01", (row,), "workspace").as_dict()["rows"][0]["detail"]

    assert shown["workspace"] == "legal"
    assert shown["charge"] == "-0.000000000001"
    assert (shown["input_tokens"], shown["cached_input_tokens"], shown["output_tokens"]) == (10, 2, 3)

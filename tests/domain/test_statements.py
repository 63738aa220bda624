import pytest

from pipeline.domain.statements import Statement, StatementBuilder
from tests.domain.world import CENT

HALF = CENT // 2


def build(*lines: dict) -> list[Statement]:
    builder = StatementBuilder()
    defaults = dict.fromkeys(("quantity", "included", "granted", "overage", "blocked", "charge_pico"), 0)
    names = {"customer": "acme", "app": "docflow", "period": "2026-11-01", "feature": "f", "unit": "page"}
    for line in lines:
        builder.add(**{**defaults, **names, "kind": "usage", **line})
    return builder.statements()


@pytest.mark.rule("R8.1")
def test_a_row_sums_the_lines_of_a_feature_and_unit() -> None:
    """Quantity, its parts and the charge are summed; the amount is the charge in cents."""
    (statement,) = build(
        {"quantity": 10, "included": 4, "granted": 3, "overage": 2, "blocked": 1, "charge_pico": 3 * CENT},
        {"quantity": 5, "overage": 5, "charge_pico": 120 * CENT},
    )

    assert statement.as_dict() == {
        "customer": "acme",
        "app": "docflow",
        "period": "2026-11-01",
        "rows": [
            {
                "feature": "f",
                "unit": "page",
                "quantity": 15,
                "included": 4,
                "granted": 3,
                "overage": 7,
                "blocked": 1,
                "charge_pico": 123 * CENT,
                "amount": "1.23",
            }
        ],
        "total": "1.23",
    }


@pytest.mark.rule("R8.1")
@pytest.mark.parametrize("kind", ["failed", "repeat", "byok", "non_billable"])
def test_other_kinds_bring_their_charge_but_no_quantity(kind: str) -> None:
    """A row appears for every line; only usage counts in quantity, whatever is charged counts in the amount."""
    (statement,) = build({"kind": kind, "quantity": 7, "charge_pico": CENT})

    (row,) = statement.rows
    assert (row.quantity, row.blocked, row.charge_pico, statement.total_cents) == (0, 0, CENT, 1)


@pytest.mark.rule("R8.1")
def test_statements_are_by_customer_app_and_period_and_rows_by_feature_and_unit() -> None:
    """Statements and their rows stand in the plain order of their names."""
    statements = build(
        {"period": "2026-12-01"},
        {"feature": "b"},
        {"feature": "a", "unit": "z"},
        {"feature": "a", "unit": "b"},
        {"app": "a"},
        {"customer": "Zoo"},
        {"customer": "acme2"},
    )

    assert [(each.customer, each.app, each.period) for each in statements] == [
        ("Zoo", "docflow", "2026-11-01"),
        ("acme", "a", "2026-11-01"),
        ("acme", "docflow", "2026-11-01"),
        ("acme", "docflow", "2026-12-01"),
        ("acme2", "docflow", "2026-11-01"),
    ]
    assert [(row.feature, row.unit) for row in statements[2].rows] == [("a", "b"), ("a", "z"), ("b", "page")]


@pytest.mark.rule("R5.4", "R8.1")
def test_rows_round_by_themselves_and_the_total_is_their_sum() -> None:
    """Three rows of half a cent and a bit are a cent each and three in all, though they sum to less than two."""
    (statement,) = build(*({"unit": unit, "charge_pico": HALF + 1} for unit in "abc"))

    assert [row.as_dict()["amount"] for row in statement.rows] == ["0.01"] * 3
    assert statement.as_dict()["total"] == "0.03"


@pytest.mark.rule("R5.4")
@pytest.mark.parametrize(
    ("charge", "amount"),
    [
        (HALF, "0.00"),
        (HALF + 1, "0.01"),
        (3 * HALF, "0.02"),
        (5 * HALF, "0.02"),
        (-3 * HALF, "-0.02"),
        (10**31, "10000000000000000000.00"),
    ],
)
def test_a_rows_amount_is_rounded_half_to_even(charge: int, amount: str) -> None:
    """The lines of a row are summed exactly first and rounded once, half a cent to the even cent."""
    (statement,) = build({"charge_pico": charge - 1}, {"charge_pico": 1})

    assert statement.rows[0].as_dict()["amount"] == amount

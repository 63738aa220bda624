"""The comparison of two ratings says where they part."""

import pytest

from tests.model.compare import assert_same, first_difference
from tests.model.naive import Result

LINES = [{"customer": "a", "seq": 1, "pools": []}, {"customer": "b", "seq": 1, "pools": [{"id": "a0", "units": 2}]}]


def test_order_across_customers_does_not_matter() -> None:
    """Two ratings with the same lines for each customer are the same."""
    assert_same(Result(lines=LINES), Result(lines=LINES[::-1]))


def test_names_the_field_that_differs() -> None:
    """The first difference names customer, seq, field, and both values."""
    other = [LINES[0], {**LINES[1], "pools": [{"id": "a0", "units": 3}]}]

    difference = first_difference(Result(lines=LINES), Result(lines=other))

    assert difference is not None
    assert difference.startswith("line 1 of customer 'b' (seq 1): field pools.0.units: expected 2, got 3")


@pytest.mark.parametrize(("wanted", "got", "word"), [(LINES, LINES[:1], "missing"), (LINES[:1], LINES, "too many")])
def test_names_a_line_that_only_one_side_has(wanted: list[dict], got: list[dict], word: str) -> None:
    """A missing line and a line too many are differences."""
    with pytest.raises(AssertionError, match=word):
        assert_same(Result(lines=wanted), Result(lines=got))


def test_order_within_a_customer_matters() -> None:
    """Two lines of one customer in another order are a difference."""
    lines = [{"customer": "a", "seq": 1}, {"customer": "a", "seq": 2}]

    assert first_difference(Result(lines=lines), Result(lines=lines[::-1])) is not None

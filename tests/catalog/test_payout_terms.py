"""Tests of the catalog's terms of payment."""

from pathlib import Path

import pytest

from pipeline.catalog import check_catalog, load_catalog
from pipeline.domain.catalog import PayoutTerms
from tests.catalog.support import GOOD, write


@pytest.mark.rule("R11.3")
@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", PayoutTerms(14, 0)),
        ("payouts:", PayoutTerms(14, 0)),
        ("payouts: {hold_days: 0}", PayoutTerms(0, 0)),
        ('payouts: {minimum: "25.005"}', PayoutTerms(14, 25_005_000_000_000)),
    ],
)
def test_terms_have_defaults(tmp_path: Path, text: str, terms: PayoutTerms) -> None:
    """Fourteen days and no minimum, unless the catalog says otherwise."""
    assert load_catalog(write(tmp_path, f"{GOOD}\n{text}\n")).payouts == terms


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("payouts: {hold_days: -1}", "payouts.hold_days: -1 is less than 0; write a whole number of days"),
        ("payouts: {minimum: 2.5}", 'payouts.minimum: 2.5 is a float, not text; write it in quotes: "2.5"'),
        ('payouts: {minimal: "2"}', "payouts.minimal: is an unknown key; did you mean minimum?"),
    ],
)
def test_a_slip_in_the_terms_is_explained(tmp_path: Path, text: str, fault: str) -> None:
    """The key, the value and what to write instead are named."""
    (found,) = check_catalog(write(tmp_path, f"{GOOD}\n{text}\n"))

    assert fault in str(found)


def test_two_files_must_agree_on_the_terms(tmp_path: Path) -> None:
    """Terms are written once, or the same way everywhere."""
    write(tmp_path, f"{GOOD}\npayouts: {{hold_days: 3}}\n", "a.yaml")
    write(tmp_path, "payouts: {hold_days: 4}\n", "b.yaml")

    (found,) = check_catalog(tmp_path)

    assert "payouts: differs from the one in" in str(found)

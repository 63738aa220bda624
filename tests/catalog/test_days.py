"""Every real day is a day of a catalog; what lies beyond the days of usage is cut when it is loaded."""

from pathlib import Path

import pytest

from pipeline.catalog import check_catalog, load_catalog
from pipeline.domain.instants import day_start_us
from tests.catalog.support import GOOD, write

FIRST = day_start_us("1971-01-01")
Span = tuple[int, int, int | None]


def spans(folder: Path, subscriptions: list[str], migration: str = "") -> list[Span]:
    """Return acme's (version, start, end) on helpdesk with these days, such as `start: 2026-01-01`, on team 1."""
    text = GOOD[: GOOD.index("subscriptions:")] + "subscriptions:\n"
    text += "".join(f"  - {{customer: acme, plan: team, version: 1, {days}}}\n" for days in subscriptions)
    if migration:
        text += f"migrations: [{{plan: team, from: 1, to: 2, effective: {migration}, customers: all}}]\n"
    catalog = load_catalog(write(folder, text))
    return [
        (each.plan.version, each.start_us, each.end_us) for each in catalog.subscriptions.get(("acme", "helpdesk"), ())
    ]


@pytest.mark.rule("R4.1", "R4.3")
@pytest.mark.parametrize(
    ("days", "start", "end"),
    [
        ("start: 1970-01-01", "1971-01-01", None),
        ("start: 0001-01-01, end: 9999-12-31", "1971-01-01", None),
        ("start: 2026-01-01, end: 2999-01-01", "2026-01-01", None),
        ("start: 2026-01-01, end: 2140-01-01", "2026-01-01", None),
        ("start: 2026-01-01, end: 2139-12-31", "2026-01-01", "2139-12-31"),
        ("start: 1971-01-02, end: 1971-01-03", "1971-01-02", "1971-01-03"),
        ("start: 2139-12-31", "2139-12-31", None),
    ],
)
def test_days_beyond_usage_are_cut(tmp_path: Path, days: str, start: str, end: str | None) -> None:
    """A start before 1971 counts from 1971 on, an end after 2139 is none."""
    assert spans(tmp_path, [days]) == [(1, day_start_us(start), None if end is None else day_start_us(end))]


@pytest.mark.rule("R4.1", "R4.3")
@pytest.mark.parametrize(
    "days", ["start: 1900-01-01, end: 1971-01-01", "start: 2140-01-01", "start: 2140-01-01, end: 9999-12-31"]
)
def test_a_subscription_beyond_usage_yields_nothing(tmp_path: Path, days: str) -> None:
    """A subscription wholly before 1971 or after 2139 is legal and never applies."""
    assert spans(tmp_path, [days]) == []


@pytest.mark.rule("R4.3")
@pytest.mark.parametrize(
    ("start", "effective", "expected"),
    [
        ("1965-01-01", "1965-01-01", [(2, FIRST, None)]),
        ("1960-01-01", "1965-01-01", [(2, FIRST, None)]),
        ("1960-01-01", "1971-01-01", [(2, FIRST, None)]),
        ("1968-01-01", "1965-01-01", [(1, FIRST, None)]),
        ("1970-01-01", "2140-01-01", [(1, FIRST, None)]),
        ("1970-01-01", "9999-12-31", [(1, FIRST, None)]),
    ],
)
def test_migrations_beyond_usage(tmp_path: Path, start: str, effective: str, expected: list[Span]) -> None:
    """A migration before 1971 has moved who was there by then; one after 2139 never applies."""
    assert spans(tmp_path, [f"start: {start}"], effective) == expected


@pytest.mark.rule("R4.3")
def test_overlaps_count_as_signed(tmp_path: Path) -> None:
    """What is cut away cannot hide an overlap, nor make one."""
    apart = ["start: 1960-01-01, end: 1965-01-01", "start: 1965-01-01, end: 2150-01-01", "start: 2150-01-01"]
    overlapping = "  - {customer: acme, plan: team, version: 3, start: 2150-01-01}\nmigrations:"

    (fault,) = check_catalog(write(tmp_path, GOOD.replace("migrations:", overlapping)))

    assert fault.path == "subscriptions[3].start"
    assert "overlaps the subscription" in fault.message
    assert spans(tmp_path, apart) == [(1, FIRST, None)]

"""Migrations move subscriptions when a catalog is loaded."""

from pathlib import Path

import pytest

from pipeline.catalog import check_catalog, load_catalog
from pipeline.domain.instants import day_start_us
from tests.catalog.support import GOOD, write

ROW = "  - {{plan: team, from: {}, to: {}, effective: {}, customers: {}}}\n"


def with_migrations(*rows: tuple[int, int, str, str]) -> str:
    """Return the good catalog with these (from, to, effective, customers) and both customers on team 1."""
    head = GOOD[: GOOD.index("subscriptions:")]
    subscriptions = (
        "subscriptions:\n"
        "  - {customer: acme, plan: team, version: 1, start: 2026-01-01}\n"
        "  - {customer: globex, plan: team, version: 1, start: 2026-03-01, end: 2026-09-01}\n"
        "  - {customer: globex, plan: team, version: 1, start: 2026-11-01}\n"
    )
    return head + subscriptions + "migrations:\n" + "".join(ROW.format(*row) for row in rows)


def spans(folder: Path, text: str, customer: str) -> list[tuple[int, str | None, str | None]]:
    """Return a customer's (version, start, end) on helpdesk after loading."""
    days = {day_start_us(f"2026-{month:02}-01"): f"2026-{month:02}-01" for month in range(1, 13)}
    subscriptions = load_catalog(write(folder, text)).subscriptions[customer, "helpdesk"]
    return [(each.plan.version, days[each.start_us], days.get(each.end_us or -1)) for each in subscriptions]


@pytest.mark.rule("R4.3")
def test_a_migration_splits_what_is_in_force(tmp_path: Path) -> None:
    """A subscription in force at `effective` is on the old version before it and on the new one from then on."""
    text = with_migrations((1, 2, "2026-06-01", "all"))

    assert spans(tmp_path, text, "acme") == [(1, "2026-01-01", "2026-06-01"), (2, "2026-06-01", None)]


@pytest.mark.rule("R4.3")
def test_a_migration_keeps_ends_and_later_subscriptions(tmp_path: Path) -> None:
    """The second part ends when the subscription ends, and what starts after `effective` stays as signed."""
    text = with_migrations((1, 2, "2026-06-01", "all"))

    assert spans(tmp_path, text, "globex") == [
        (1, "2026-03-01", "2026-06-01"),
        (2, "2026-06-01", "2026-09-01"),
        (1, "2026-11-01", None),
    ]


@pytest.mark.rule("R4.3")
@pytest.mark.parametrize(
    ("effective", "versions"),
    [("2026-03-01", [2, 1]), ("2026-09-01", [1, 1]), ("2026-11-01", [1, 2]), ("2026-02-01", [1, 1])],
)
def test_the_bounds_of_being_in_force(tmp_path: Path, effective: str, versions: list[int]) -> None:
    """A subscription that starts at `effective` is moved whole, one that ends there not at all."""
    text = with_migrations((1, 2, effective, "all"))

    assert [version for version, _, _ in spans(tmp_path, text, "globex")] == versions


@pytest.mark.rule("R4.3")
def test_only_listed_customers_move(tmp_path: Path) -> None:
    """A list of customers moves those, and nobody else."""
    text = with_migrations((1, 2, "2026-06-01", "[globex]"))

    assert [version for version, _, _ in spans(tmp_path, text, "acme")] == [1]
    assert [version for version, _, _ in spans(tmp_path, text, "globex")] == [1, 2, 1]


@pytest.mark.rule("R4.3")
@pytest.mark.parametrize("reverse", [False, True])
def test_migrations_chain_whatever_their_order_in_the_file(tmp_path: Path, reverse: bool) -> None:
    """Moves from 1 to 2 and later from 2 to 3 follow each other, in the order of their days."""
    rows = [(1, 2, "2026-06-01", "all"), (2, 3, "2026-08-01", "[acme]")]

    text = with_migrations(*(reversed(rows) if reverse else rows))

    assert spans(tmp_path, text, "acme") == [
        (1, "2026-01-01", "2026-06-01"),
        (2, "2026-06-01", "2026-08-01"),
        (3, "2026-08-01", None),
    ]


@pytest.mark.rule("R4.3")
def test_a_chain_on_one_day_goes_all_the_way(tmp_path: Path) -> None:
    """Two moves on one day take a customer from version 1 to version 3 at once."""
    text = with_migrations((2, 3, "2026-06-01", "all"), (1, 2, "2026-06-01", "all"))

    assert spans(tmp_path, text, "acme") == [(1, "2026-01-01", "2026-06-01"), (3, "2026-06-01", None)]


@pytest.mark.rule("R4.3")
@pytest.mark.parametrize(
    ("first", "second", "path"),
    [
        ((1, 2, "2026-06-01", "all"), (1, 3, "2026-06-01", "all"), "migrations[1].customers"),
        ((1, 2, "2026-06-01", "[acme]"), (1, 3, "2026-06-01", "all"), "migrations[1].customers"),
        ((1, 2, "2026-06-01", "all"), (1, 2, "2026-06-01", "[acme]"), "migrations[1].customers"),
        ((1, 3, "2026-06-01", "[acme, globex]"), (1, 2, "2026-06-01", "[globex]"), "migrations[1].customers"),
    ],
)
def test_conflicting_migrations_are_refused(
    tmp_path: Path, first: tuple[int, int, str, str], second: tuple[int, int, str, str], path: str
) -> None:
    """Two migrations that would each move a customer from one version on one day make the catalog invalid."""
    (fault,) = check_catalog(write(tmp_path, with_migrations(first, second)))

    assert fault.path == path
    assert "moves customers named here from this version on this day" in fault.message


@pytest.mark.rule("R4.3")
def test_customers_of_one_day_may_go_different_ways(tmp_path: Path) -> None:
    """Two migrations of one day and version that share no customer move each their own."""
    text = with_migrations((1, 2, "2026-06-01", "[acme]"), (1, 3, "2026-06-01", "[globex]"))

    assert [version for version, _, _ in spans(tmp_path, text, "acme")] == [1, 2]
    assert [version for version, _, _ in spans(tmp_path, text, "globex")] == [1, 3, 1]


@pytest.mark.rule("R4.3")
@pytest.mark.parametrize("reverse", [False, True])
def test_migrations_on_different_days_apply_in_order(tmp_path: Path, reverse: bool) -> None:
    """The earlier one takes its customers away; the later one finds those who came to that version since."""
    rows = [(1, 2, "2026-06-01", "all"), (1, 3, "2026-12-01", "[acme, globex]")]

    text = with_migrations(*(reversed(rows) if reverse else rows))

    assert [version for version, _, _ in spans(tmp_path, text, "acme")] == [1, 2]
    assert [version for version, _, _ in spans(tmp_path, text, "globex")] == [1, 2, 1, 3]


@pytest.mark.rule("R4.3")
def test_a_later_migration_of_all_takes_the_rest(tmp_path: Path) -> None:
    """One customer may move early and all others later; also those who signed the old version since."""
    text = with_migrations((1, 2, "2026-06-01", "[acme]"), (1, 3, "2026-12-01", "all"))

    assert [version for version, _, _ in spans(tmp_path, text, "acme")] == [1, 2]
    assert [version for version, _, _ in spans(tmp_path, text, "globex")] == [1, 1, 3]


@pytest.mark.rule("R4.3")
def test_subscriptions_that_meet_do_not_overlap(tmp_path: Path) -> None:
    """An end is exclusive: the next subscription may start on the same day, in any order of rows."""
    text = with_migrations().replace(
        "  - {customer: globex, plan: team, version: 1, start: 2026-11-01}",
        "  - {customer: globex, plan: team, version: 3, start: 2026-09-01}",
    )

    assert [version for version, _, _ in spans(tmp_path, text, "globex")] == [1, 3]


@pytest.mark.rule("R4.3")
def test_one_long_subscription_overlaps_all_inside_it(tmp_path: Path) -> None:
    """Every subscription inside a longer one is reported, not only the next."""
    inside = "".join(
        f"  - {{customer: acme, plan: team, version: 3, start: 2026-0{m}-01, end: 2026-0{m}-15}}\n" for m in (2, 3, 4)
    )
    text = with_migrations((1, 2, "2026-02-10", "all")).replace("migrations:", inside + "migrations:")

    faults = check_catalog(write(tmp_path, text))

    assert [fault.path for fault in faults] == [f"subscriptions[{index}].start" for index in (3, 4, 5)]

"""Who is published on terms keeps them: the past stays, and new terms come by a migration with notice."""

from datetime import date
from pathlib import Path

import pytest

from pipeline.catalog import Fault, check_published
from tests.catalog.support import GOOD, write

TODAY = date(2026, 7, 1)
ACME = "{customer: acme, plan: team, version: 1, start: 2026-01-01}"
GLOBEX = "{customer: globex, plan: team, version: 1, start: 2026-03-01, end: 2026-12-01}"
MOVED = "{plan: team, from: 1, to: 2, effective: 2026-05-01, customers: [acme], notice_days: 30}"
PLANNED = "{plan: team, from: 2, to: 3, effective: 2026-07-15, customers: all, notice_days: 60}"
OLD = [ACME, GLOBEX, MOVED, PLANNED]


def catalog(rows: list[str]) -> str:
    """Return the good catalog with these subscriptions and migrations."""
    text = GOOD[: GOOD.index("subscriptions:")]
    for section, first in (("subscriptions", "{customer"), ("migrations", "{plan")):
        text += f"{section}:\n" + "".join(f"  - {row}\n" for row in rows if row.startswith(first))
    return text


def check(folder: Path, new: list[str], old: list[str] = OLD, today: date = TODAY) -> list[Fault]:
    """Return the faults of a catalog of these rows that follows the published one."""
    return check_published(write(folder, catalog(new), "new.yaml"), write(folder, catalog(old), "old.yaml"), today)


@pytest.mark.rule("R4.3")
@pytest.mark.parametrize(
    ("row", "faults"),
    [
        ("{plan: team, from: 1, to: 3, effective: 2026-07-31, customers: all, notice_days: 30}", 0),
        ("{plan: team, from: 1, to: 3, effective: 2026-07-30, customers: all, notice_days: 30}", 1),
        ("{plan: team, from: 1, to: 3, effective: 2026-07-01, customers: all}", 0),
        ("{plan: team, from: 1, to: 3, effective: 2026-06-30, customers: all}", 1),
        ("{plan: team, from: 1, to: 3, effective: 9999-12-31, customers: all, notice_days: 3650}", 0),
    ],
)
def test_a_new_migration_keeps_its_notice(tmp_path: Path, row: str, faults: int) -> None:
    """A migration may take effect `notice_days` after it is published, on that very day, and not earlier."""
    assert [fault.path for fault in check(tmp_path, [*OLD, row])] == ["migrations[2].effective"] * faults


@pytest.mark.rule("R4.3")
def test_too_short_a_notice_names_the_earliest_day(tmp_path: Path) -> None:
    """The fault shows the day of publishing, the notice and the first possible day, once for all customers."""
    row = "{plan: team, from: 1, to: 3, effective: 2026-02-01, customers: all, notice_days: 30}"

    (fault,) = check(tmp_path, [*OLD, row])

    assert (
        fault.message
        == "2026-02-01 is too early for a migration that is published on 2026-07-01 with 30 days of notice"
    )
    assert fault.hint == "the earliest day is 2026-07-31"


@pytest.mark.rule("R4.3")
def test_a_published_migration_needs_no_further_notice(tmp_path: Path) -> None:
    """What was announced in time stays, written in another order, with other customers beside it or not."""
    assert check(tmp_path, [PLANNED, MOVED, GLOBEX, ACME]) == []
    assert check(tmp_path, [ACME, GLOBEX, MOVED, PLANNED.replace("all", "[acme]")]) == []


@pytest.mark.rule("R4.3")
@pytest.mark.parametrize(
    ("old", "new"), [("2026-07-15", "2026-07-14"), ("to: 3", "to: 1"), ("2026-07-15", "2026-08-29")]
)
def test_a_changed_migration_is_a_new_one(tmp_path: Path, old: str, new: str) -> None:
    """Another day or another version needs the notice again."""
    (fault,) = check(tmp_path, [ACME, GLOBEX, MOVED, PLANNED.replace(old, new)])

    assert (fault.path, fault.hint) == ("migrations[1].effective", "the earliest day is 2026-08-30")


@pytest.mark.rule("R4.3")
def test_customers_added_to_a_published_migration_need_notice(tmp_path: Path) -> None:
    """Naming one more customer in a migration of the past is a migration without notice for this one alone."""
    (fault,) = check(tmp_path, [ACME, GLOBEX, MOVED.replace("[acme]", "[acme, globex]"), PLANNED])

    assert fault.path == "migrations[0].effective"


@pytest.mark.rule("R4.3")
@pytest.mark.parametrize(
    ("new", "path", "had", "has"),
    [
        ([ACME.replace("01-01", "02-01"), GLOBEX], "subscriptions", "team version 1", "no plan"),
        ([ACME.replace("2026-01", "2025-12"), GLOBEX], "subscriptions[0]", "no plan", "team version 1"),
        ([ACME.replace("1,", "3,"), GLOBEX], "subscriptions[0]", "team version 1", "team version 3"),
        ([ACME.replace("team", "docs"), GLOBEX], "subscriptions", "team version 1", "no plan"),
        ([ACME.replace("}", ", end: 2026-06-30}"), GLOBEX], "subscriptions", "team version 2", "no plan"),
        ([ACME], "subscriptions", "team version 1", "no plan"),
    ],
)
def test_the_past_never_changes(tmp_path: Path, new: list[str], path: str, had: str, has: str) -> None:
    """Another version, another day or no subscription before today is refused, also when the customer is gone."""
    faults = [fault for fault in check(tmp_path, [*new, MOVED, PLANNED]) if "never changes" in fault.hint]

    assert [fault.path for fault in faults] == [path]
    assert f" had {had} for app helpdesk from 202" in faults[0].message
    assert faults[0].message.endswith(f"here it has {has}")


@pytest.mark.rule("R4.3")
def test_a_migration_of_the_past_stays(tmp_path: Path) -> None:
    """Leaving out a migration that has taken effect changes the past of its customers."""
    (fault,) = check(tmp_path, [ACME, GLOBEX, PLANNED])

    assert fault.message == (
        "customer acme had team version 2 for app helpdesk from 2026-05-01 on, here it has team version 1"
    )
    assert fault.hint == "put it back: what was in force before 2026-07-01 never changes"


@pytest.mark.rule("R4.3")
def test_the_same_terms_may_be_written_otherwise(tmp_path: Path) -> None:
    """Rows that say the same about every instant are the same, with and without the migration that leads there."""
    rows = [ACME.replace("}", ", end: 2026-05-01}"), ACME.replace("1, start: 2026-01", "2, start: 2026-05")]

    planned = [
        rows[1].replace("}", ", end: 2026-07-15}"),
        "{customer: acme, plan: team, version: 3, start: 2026-07-15}",
    ]

    assert check(tmp_path, [*rows, GLOBEX, PLANNED]) == []
    assert check(tmp_path, [rows[0], *planned, GLOBEX]) == []


@pytest.mark.rule("R4.3")
@pytest.mark.parametrize(
    "new",
    [
        [ACME.replace("}", ", end: 2026-07-01}"), GLOBEX, MOVED, PLANNED],
        [ACME, GLOBEX.replace(", end: 2026-12-01", ""), MOVED, PLANNED],
        [ACME, GLOBEX.replace("2026-12-01", "2026-07-01"), MOVED, PLANNED],
        [ACME, GLOBEX, "{customer: globex, plan: team, version: 3, start: 2026-12-01}", MOVED, PLANNED],
        [ACME, GLOBEX, "{customer: globex, plan: docs, version: 1, start: 2026-01-01}", MOVED, PLANNED],
        [
            ACME,
            GLOBEX.replace("2026-12-01", "2026-10-01"),
            "{customer: globex, plan: team, version: 3, start: 2026-10-01}",
            MOVED,
            PLANNED,
            "{plan: team, from: 1, to: 3, effective: 2026-08-15, customers: [globex], notice_days: 30}",
        ],
        [ACME, GLOBEX, MOVED],
        [ACME, GLOBEX, MOVED, PLANNED, "{plan: team, from: 3, to: 1, effective: 2026-08-01, customers: [acme]}"],
    ],
    ids=[
        "ended",
        "renewed",
        "ended-today",
        "signed-anew",
        "another-app",
        "migrated-then-renewed",
        "migration-cancelled",
        "migrated-on",
    ],
)
def test_the_future_is_the_customers_own(tmp_path: Path, new: list[str]) -> None:
    """Ends, renewals, new contracts after an end, new migrations and cancelled ones are no faults."""
    assert check(tmp_path, new) == []


@pytest.mark.rule("R4.3")
@pytest.mark.parametrize(
    ("day", "effective"), [("2026-07-01", "2026-07-31"), ("2026-07-31", "2026-07-31"), ("2026-10-01", "2026-10-01")]
)
def test_a_move_without_migration_prints_the_migration(tmp_path: Path, day: str, effective: str) -> None:
    """A running subscription that goes on under another version of its plan needs a migration, at the earliest day."""
    rows = [GLOBEX.replace("2026-12-01", day), f"{{customer: globex, plan: team, version: 3, start: {day}}}"]

    (fault,) = check(tmp_path, [ACME, *rows, MOVED, PLANNED])

    assert fault.path == "subscriptions[2].version"
    assert fault.message == "takes customer globex from version 1 of team without a migration"
    assert fault.hint == (
        "put the subscription back as it was, and add to migrations: "
        f"{{plan: team, from: 1, to: 3, effective: {effective}, customers: [globex], notice_days: 30}}"
    )


@pytest.mark.rule("R4.3")
def test_a_version_that_is_edited_in_its_row_gets_both_remedies(tmp_path: Path) -> None:
    """Writing a new version into a running subscription changes its past, and is what a migration is for."""
    past, move = check(tmp_path, [ACME, GLOBEX.replace("version: 1", "version: 3"), MOVED, PLANNED])

    assert (past.path, move.path) == ("subscriptions[1]", "subscriptions[1].version")
    assert past.message.startswith("customer globex had team version 1 for app helpdesk from 2026-03-01 on")
    assert move.hint.endswith(
        "{plan: team, from: 1, to: 3, effective: 2026-07-31, customers: [globex], notice_days: 30}"
    )


@pytest.mark.rule("R4.3")
def test_the_printed_migration_mends_the_fault(tmp_path: Path) -> None:
    """What the fault of a move says to write is accepted when it is written."""
    old = [GLOBEX.replace("2026-03-01", "2026-07-01")]

    (fault,) = check(tmp_path, [old[0].replace("version: 1", "version: 3")], old)

    assert check(tmp_path, [*old, fault.hint.partition("migrations: ")[2]], old) == []


@pytest.mark.rule("R4.3")
def test_a_planned_migration_is_no_licence_for_another_version(tmp_path: Path) -> None:
    """Where a migration leads by the earliest day anyway, the fault only says to put the row back."""
    rows = [
        ACME.replace("}", ", end: 2026-07-10}"),
        "{customer: acme, plan: team, version: 3, start: 2026-07-10}",
    ]

    (fault,) = check(tmp_path, [*rows, GLOBEX, MOVED, PLANNED])

    assert fault.message == "takes customer acme from version 2 of team without a migration"
    assert fault.hint == "put the subscription back as it was"


@pytest.mark.rule("R4.3")
def test_another_plan_is_a_new_contract(tmp_path: Path) -> None:
    """Going to another plan of the app from today on is the customer's own business."""
    plan = "  - {id: pro, version: 1, app: helpdesk}\nsubscriptions:"
    rows = [ACME.replace("}", ", end: 2026-07-10}"), "{customer: acme, plan: pro, version: 1, start: 2026-07-10}"]
    new = catalog([*rows, GLOBEX, MOVED, PLANNED]).replace("subscriptions:", plan)

    old = write(tmp_path, catalog(OLD), "old.yaml")

    assert check_published(write(tmp_path, new), old, TODAY) == []

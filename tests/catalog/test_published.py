"""A published plan version with subscribers never changes."""

from datetime import date
from pathlib import Path

import pytest

from pipeline.catalog import CatalogError, check_published
from tests.catalog.support import GOOD, edited, write

TODAY = date(2026, 3, 1)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Return where the good catalog stands as it was published."""
    return write(tmp_path, GOOD, "published.yaml")


@pytest.mark.rule("R4.3")
def test_an_altered_version_names_the_migration(tmp_path: Path, published: Path) -> None:
    """A change of published terms says what changed, which version to write, and the migration row for it."""
    path = write(tmp_path, edited(("included: 1000,", "included: 900,"), ('price: "0.02"', 'price: "0.03"')))

    (fault,) = check_published(path, published, TODAY)

    assert (fault.line, fault.path) == (13, "plans[0]")
    assert fault.message == "version 1 of team is published, has 1 subscriber and differs in allowances, prices"
    assert "as version 4" in fault.hint
    row = "{plan: team, from: 1, to: 4, effective: 2026-03-31, customers: all, notice_days: 30}"
    assert row in fault.hint


@pytest.mark.rule("R4.3")
def test_a_removed_version_is_refused(tmp_path: Path, published: Path) -> None:
    """A plan version with subscribers may not disappear."""
    path = write(
        tmp_path,
        edited(
            ("  - {id: docs, version: 1, app: docflow}\n", ""),
            ("  - {customer: globex, plan: docs, version: 1, start: 2026-01-01}\n", ""),
        ),
    )

    fault, _ = check_published(path, published, TODAY)

    assert fault.path == "plans"
    assert fault.message == "version 1 of docs is published, has 1 subscriber and is missing"


@pytest.mark.rule("R4.3")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('price: "0.02"', 'price: "0.020"'),
        ("[100, 50, 80]", "[50, 80, 100]"),
        ("    repeats: free\n", ""),
        ("{id: team, version: 3, app: helpdesk}", "{id: team, version: 3, app: helpdesk, anchor_day: 5}"),
        ("- {id: docs,", "- {id: team, version: 4, app: helpdesk, anchor_day: 5}\n  - {id: docs,"),
        ('input: "0.25"', 'input: "0.30"'),
    ],
)
def test_what_alters_no_subscribed_terms_passes(tmp_path: Path, published: Path, old: str, new: str) -> None:
    """Other spellings, versions without subscribers, new versions and model prices may change."""
    assert check_published(write(tmp_path, edited((old, new))), published, TODAY) == []


@pytest.mark.rule("R4.3")
def test_subscribers_by_migration_count(tmp_path: Path, published: Path) -> None:
    """A version that a published migration leads to is protected as well."""
    path = write(
        tmp_path,
        edited(("{id: team, version: 2, app: helpdesk}", "{id: team, version: 2, app: helpdesk, failed: cost}")),
    )

    (fault,) = check_published(path, published, TODAY)

    assert fault.message == "version 2 of team is published, has 2 subscribers and differs in failed"


def test_own_faults_come_first(tmp_path: Path, published: Path) -> None:
    """A catalog with faults of its own is not compared until they are mended."""
    path = write(tmp_path, edited(("included: 1000,", "included: -900,")))

    assert [fault.path for fault in check_published(path, published, TODAY)] == ["plans[0].allowances[1].included"]


def test_faults_of_the_published_catalog_are_raised(tmp_path: Path) -> None:
    """Nothing can be compared with a published catalog that has faults itself."""
    old = write(tmp_path, edited(("included: 1000,", "included: -900,")), "published.yaml")

    with pytest.raises(CatalogError, match="-900 is less than 0"):
        check_published(write(tmp_path, GOOD), old, TODAY)

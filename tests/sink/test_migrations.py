"""Tests of the ClickHouse migrations."""

import dataclasses
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.sink.migrations import MigrationError, load_access_migrations, load_migrations, migrate, migration_status
from tests.sink.support import client_of

REPEATABLE = re.compile(
    r"CREATE (TABLE|DATABASE|DICTIONARY|MATERIALIZED VIEW) IF NOT EXISTS |CREATE OR REPLACE VIEW "
    r"|ALTER TABLE \S+ (ADD (COLUMN|INDEX|CONSTRAINT) IF NOT EXISTS|DROP (COLUMN|INDEX|CONSTRAINT) IF EXISTS|MODIFY|MATERIALIZE INDEX) "
    r"|DROP (TABLE|VIEW) IF EXISTS "
    r"|ALTER TABLE \S+ (ADD PROJECTION IF NOT EXISTS|MATERIALIZE PROJECTION) "
    r"|CREATE (ROLE|ROW POLICY|SETTINGS PROFILE) IF NOT EXISTS |GRANT SELECT\b"
    r"|INSERT INTO usage.line_heads SELECT customer, max\(seq\) "  # of what comes twice the largest counts
)

PLAIN = re.compile(r"LowCardinality\((Nullable\(\w+\)|\w+)\)")


@pytest.fixture
def fresh(clickhouse: str) -> Iterator[Client]:
    """Give a client of a ClickHouse without our database."""
    client = client_of(clickhouse)
    client.command("DROP DATABASE IF EXISTS usage SYNC")
    yield client
    client.command("DROP DATABASE IF EXISTS usage SYNC")
    migrate(client)
    client.close()


def test_a_second_migrate_does_nothing(fresh: Client) -> None:
    """The first run applies every file in order, the second none."""
    first = migrate(fresh)

    assert first == load_migrations()
    assert migrate(fresh) == []


def test_dry_run_changes_nothing(fresh: Client) -> None:
    """A dry run names what is pending and leaves the database alone."""
    pending = migrate(fresh, dry_run=True)

    assert pending == load_migrations()
    assert "usage" not in fresh.query("SHOW DATABASES").result_columns[0]


def test_two_may_migrate_at_once(fresh: Client, clickhouse: str) -> None:
    """Several processes that migrate an empty database together all succeed, and it is migrated once."""
    failures: list[BaseException] = []
    start = threading.Barrier(3)

    def run() -> None:
        client = client_of(clickhouse)
        start.wait()
        try:
            migrate(client)
        except BaseException as failure:  # noqa: BLE001 - handed to the assertion
            failures.append(failure)
        finally:
            client.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert [row.state for row in migration_status(fresh)] == ["applied"] * len(load_migrations())
    assert fresh.query("SELECT count() FROM usage.migrations FINAL").result_rows == [(len(load_migrations()),)]


def test_a_migration_that_died_half_way_is_repeated(fresh: Client) -> None:
    """Statements that ran without their note are run again without harm."""
    fresh.command("CREATE DATABASE usage")
    for statement in load_migrations()[0].statements:
        fresh.command(statement)

    assert migrate(fresh) == load_migrations()


def test_a_changed_migration_is_an_error(fresh: Client) -> None:
    """A file that was changed after it had been applied stops everything, with what to do."""
    migrate(fresh)
    first, *rest = load_migrations()
    changed = [dataclasses.replace(first, digest="0" * 64), *rest]
    added = dataclasses.replace(first, number=99, name="create_nothing")

    with pytest.raises(MigrationError, match=r"0001_create_usage_lines was changed .* new migration"):
        migrate(fresh, migrations=[*changed, added])

    states = {row.number: row.state for row in migration_status(fresh, [*changed, added])}
    assert states[1] == "changed"
    assert states[99] == "pending"


def test_migrations_of_a_newer_version_are_shown_and_left_alone(fresh: Client) -> None:
    """An older program runs on a newer database."""
    migrate(fresh)
    older = load_migrations()[:1]

    assert migrate(fresh, migrations=older) == []
    assert [row.state for row in migration_status(fresh, older)][:2] == ["applied", "unknown"]


@pytest.mark.parametrize(
    "migration", [*load_migrations(), *load_access_migrations()], ids=lambda migration: migration.name
)
def test_every_statement_may_be_run_again(migration) -> None:
    """No statement fails or does anything the second time: only forms that are known to be repeatable are used."""
    assert migration.statements
    for statement in migration.statements:
        assert REPEATABLE.match(" ".join(statement.split())), statement


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["0001_create_a.sql", "0003_create_b.sql"], "0003_create_b stands where 0002"),
        (["0001_create_a.sql", "0001_create_b.sql"], "0001_create_b stands where 0002"),
        (["0001.sql"], "NNNN_verb_noun"),
        (["0001_Create_a.sql"], "NNNN_verb_noun"),
    ],
)
def test_misnamed_files_are_an_error(tmp_path: Path, names: list[str], complaint: str) -> None:
    """Names follow NNNN_verb_noun.sql, numbers have neither gaps nor twins."""
    for name in names:
        (tmp_path / name).write_text("SELECT 1;\n")

    with pytest.raises(MigrationError, match=complaint):
        load_migrations(tmp_path)


def test_comments_and_semicolons_inside_a_line_do_not_part_statements(tmp_path: Path) -> None:
    """A statement ends with a semicolon at the end of a line, and nowhere else."""
    (tmp_path / "0001_create_a.sql").write_text("-- a; comment;\nSELECT ';', 1;\n-- more\nSELECT 2\n;\n")

    (migration,) = load_migrations(tmp_path)

    assert migration.statements == ("SELECT ';', 1", "SELECT 2")


def test_what_the_sink_inserts_into_has_the_columns_of_the_lines(fresh: Client) -> None:
    """Both tables have the same columns, types but for LowCardinality, and defaults; the view passes every one on."""
    migrate(fresh)

    def columns(table: str) -> list[tuple[str, str, str]]:
        found = fresh.query(
            "SELECT name, type, default_expression FROM system.columns "
            "WHERE database = 'usage' AND table = {table:String} ORDER BY position",
            parameters={"table": table},
        ).result_rows
        return [(name, PLAIN.sub(r"\1", kind), default) for name, kind, default in found]

    assert columns("usage_lines_in") == columns("usage_lines")
    assert [name for name, *_ in columns("usage_lines_in_view")] == [name for name, *_ in columns("usage_lines")]

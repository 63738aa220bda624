"""The ClickHouse schema as numbered migrations, `schemas/clickhouse/NNNN_verb_noun.sql`.

Those in `access/`, numbered from 9001, make roles and row policies: another user may have to apply them, and a ClickHouse
without users, as the embedded one is, does without.

A migration is a file of statements, each ended by a semicolon at the end of its line. Every statement may be run again:
two processes may migrate at once, and one may die between a statement and the note that it ran.
"""

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clickhouse_connect.driver.client import Client

from pipeline.settings.resources import schema_path

log = logging.getLogger(__name__)

ACCESS_FROM = 9001
"""The number of the first migration that manages access."""
_FILE_NAME = re.compile(r"(?P<number>[0-9]{4})_(?P<name>[a-z0-9]+(?:_[a-z0-9]+)+)\.sql")
_STATEMENT_END = re.compile(r";[ \t]*(?:\n|\Z)")
_COMMENT = re.compile(r"^[ \t]*--.*\n?", re.MULTILINE)

_BOOTSTRAP = (
    "CREATE DATABASE IF NOT EXISTS usage",
    """
    CREATE TABLE IF NOT EXISTS usage.migrations
    (
        number UInt32,
        name String,
        digest String,
        applied_at DateTime64(6, 'UTC') DEFAULT now64(6)
    )
    ENGINE = ReplacingMergeTree(applied_at)
    ORDER BY number
    """,
)


class MigrationError(Exception):
    """The migrations and the database do not fit together; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered migration file."""

    number: int
    name: str
    digest: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """What the database knows of one migration."""

    number: int
    name: str
    applied_at: datetime | None
    state: str
    """`applied`, `pending`, `changed` (since it was applied) or `unknown` (applied by a newer version of this program)."""


def load_access_migrations() -> list[Migration]:
    """Return the migrations that manage access: roles, row policies and their tables."""
    return load_migrations(schema_path("clickhouse") / "access", ACCESS_FROM)


def load_migrations(folder: Path | None = None, first: int = 1) -> list[Migration]:
    """Return the migrations of a folder, in order. Raises MigrationError for a bad name, a gap or a double number."""
    migrations = []
    for path in sorted((folder or schema_path("clickhouse")).glob("*.sql")):
        found = _FILE_NAME.fullmatch(path.name)
        if found is None:
            raise MigrationError(f"{path.name}: a migration is named NNNN_verb_noun.sql")
        content = path.read_text(encoding="utf-8")
        statements = tuple(part.strip() for part in _STATEMENT_END.split(_COMMENT.sub("", content)) if part.strip())
        digest = hashlib.sha256(content.encode()).hexdigest()
        migrations.append(Migration(int(found["number"]), found["name"], digest, statements))
    for expected, migration in enumerate(migrations, start=first):
        if migration.number != expected:
            raise MigrationError(
                f"migration {migration.number:04d}_{migration.name} stands where {expected:04d} should"
            )
    return migrations


def migrate(client: Client, *, dry_run: bool = False, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Apply the migrations that are not applied yet, and return them; with `dry_run`, return them only.

    Raises MigrationError when an applied migration was changed since: nothing is applied then.
    """
    migrations = load_migrations() if migrations is None else migrations
    applied = _applied(client)
    pending = []
    for migration in migrations:
        known = applied.get(migration.number)
        if known is None:
            pending.append(migration)
        elif known.digest != migration.digest:
            raise MigrationError(
                f"migration {migration.number:04d}_{migration.name} was changed after it had been applied to this "
                f"database at {known.applied_at:%Y-%m-%d %H:%M:%S} UTC: restore the file, and put the change into a new migration"
            )
    if not dry_run:
        for migration in pending:
            _apply(client, migration)
    return pending


def migration_status(client: Client, migrations: Sequence[Migration] | None = None) -> list[MigrationStatus]:
    """Return every migration of the files and of the database, in order, with its state."""
    migrations = load_migrations() if migrations is None else migrations
    applied = _applied(client)
    found = []
    for migration in migrations:
        known = applied.pop(migration.number, None)
        if known is None:
            found.append(MigrationStatus(migration.number, migration.name, None, "pending"))
        else:
            state = "applied" if known.digest == migration.digest else "changed"
            found.append(MigrationStatus(migration.number, migration.name, known.applied_at, state))
    unknown = [
        MigrationStatus(number, row.name, row.applied_at, "unknown")
        for number, row in sorted(applied.items())
        if (number >= ACCESS_FROM) == (migrations[0].number >= ACCESS_FROM)
    ]
    return found + unknown


@dataclass(frozen=True, slots=True)
class _AppliedRow:
    name: str
    digest: str
    applied_at: datetime


def _applied(client: Client) -> dict[int, _AppliedRow]:
    if not client.command("EXISTS TABLE usage.migrations"):
        return {}
    rows = client.query(
        "SELECT number, name, digest, applied_at FROM usage.migrations FINAL ORDER BY number"
    ).result_rows
    return {number: _AppliedRow(name, digest, applied_at) for number, name, digest, applied_at in rows}


def _apply(client: Client, migration: Migration) -> None:
    for statement in (*_BOOTSTRAP, *migration.statements):
        client.command(statement)
    client.command(
        "INSERT INTO usage.migrations (number, name, digest) SELECT {number:UInt32}, {name:String}, {digest:String}",
        parameters={"number": migration.number, "name": migration.name, "digest": migration.digest},
    )
    log.info("applied migration %04d_%s", migration.number, migration.name)

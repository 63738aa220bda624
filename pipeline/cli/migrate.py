"""`usage migrate`: bring ClickHouse's tables and views up to date."""

import click
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.cli.connect import clickhouse_client, one_line
from pipeline.cli.options import options_for
from pipeline.settings import Settings
from pipeline.sink.migrations import (
    Migration,
    MigrationError,
    MigrationStatus,
    load_access_migrations,
    load_migrations,
    migrate,
    migration_status,
)


@click.command("migrate")
@click.option("--status", is_flag=True, help="Only show which migrations are applied.")
@click.option("--dry-run", is_flag=True, help="Only show the SQL that would run.")
@click.option(
    "--access", is_flag=True, help="Roles and row policies for people and BI tools, instead of tables and views."
)
@options_for("clickhouse")
def migrate_command(settings: Settings, status: bool, dry_run: bool, access: bool) -> None:
    """Bring ClickHouse's tables and views up to date.

    Applies the numbered migrations that the database does not have yet. May be run at any time, by several at once.

    With --access it makes the roles and row policies of docs/sql.md, as a user that may manage access.
    """
    migrations = load_access_migrations() if access else load_migrations()
    client = clickhouse_client(settings)
    try:
        if status:
            _show_status(migration_status(client, migrations))
            return
        done = migrate(client, dry_run=dry_run, migrations=migrations)
    except MigrationError as error:
        raise click.ClickException(str(error)) from None
    except ClickHouseError as error:
        hint = ". It takes a user that may manage access; the embedded ClickHouse has no users" if access else ""
        raise click.ClickException(f"ClickHouse refused a migration: {one_line(error)}{hint}") from error
    finally:
        client.close()
    if dry_run:
        _show_sql(done)
    elif not done:
        click.echo("up to date")
    for migration in () if dry_run else done:
        click.echo(f"applied {migration.number:04d}_{migration.name}")


def _show_status(rows: list[MigrationStatus]) -> None:
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        when = f"{row.applied_at:%Y-%m-%d %H:%M:%S} UTC" if row.applied_at else ""
        click.echo(f"{row.number:04d}  {row.name:<{width}}  {row.state:<7}  {when}".rstrip())


def _show_sql(pending: list[Migration]) -> None:
    for migration in pending:
        click.echo(f"-- {migration.number:04d}_{migration.name}")
        for statement in migration.statements:
            click.echo(f"{statement};\n")
    if not pending:
        click.echo("-- up to date")

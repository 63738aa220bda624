"""`usage export`: statements as files for others."""

import sys
from contextlib import closing
from pathlib import Path

import click
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.billing import NoStatementError, only_app
from pipeline.billing.exports import FORMS, CurrencyError, TooManyChargesError, export_statement
from pipeline.cli.catalogs import catalog_in_force
from pipeline.cli.connect import clickhouse_client, one_line
from pipeline.cli.options import options_for
from pipeline.domain.catalog import Catalog
from pipeline.domain.statements import DIMENSIONS
from pipeline.settings import Settings

_NOT_MIGRATED = (47, 60, 81)
"""ClickHouse's UNKNOWN_IDENTIFIER, UNKNOWN_TABLE and UNKNOWN_DATABASE."""


@click.group("export")
def export_group() -> None:
    """Export statements: CSV, JSON, HTML to print, FOCUS cost and usage, invoice items."""


@export_group.command("statement")
@click.option("--customer", required=True, metavar="ID", help="Who pays.")
@click.option("--app", metavar="ID", help="For which app; may be left out when the customer used just one.")
@click.option("--period", required=True, metavar="YYYY-MM-DD", help="The billing period, named by its first day.")
@click.option("--format", "form", required=True, type=click.Choice(list(FORMS)), help="What to write.")
@click.option("--detail", type=click.Choice(DIMENSIONS), help="With csv, json and html: also each row's parts.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it there; replaces the file once it is complete. Without it, standard output.",
)
@options_for("kafka", "clickhouse", "catalog")
def statement_export_command(
    customer: str, app: str | None, period: str, form: str, detail: str | None, out: Path | None, settings: Settings
) -> None:
    """Write a statement as a file for others. It holds what the customer may see, and sums to the statement's total.

    Read from ClickHouse; names and currency come from --catalog or, without one, from the version published last.
    """
    if detail is not None and not FORMS[form].takes_detail:
        raise click.UsageError(f"--detail: {form} has all the detail that it can have")
    catalog = catalog_in_force(settings)
    content = _exported(settings, catalog, customer, app, period, form, detail)
    if out is None:
        sys.stdout.buffer.write(content)
    else:
        _write(out, content)
        click.echo(f"wrote {out}", err=True)


def _exported(
    settings: Settings, catalog: Catalog, customer: str, app: str | None, period: str, form: str, detail: str | None
) -> bytes:
    with closing(clickhouse_client(settings)) as client:
        try:
            return export_statement(
                client,
                catalog,
                customer,
                app or only_app(client, customer, period),
                period,
                form,
                dimension=detail,
                issuer=settings.invoice_issuer,
            )
        except (NoStatementError, CurrencyError, TooManyChargesError) as error:
            raise click.ClickException(str(error)) from None
        except ClickHouseError as error:
            if getattr(error, "code", None) in _NOT_MIGRATED:
                raise click.ClickException("ClickHouse lacks usage tables or columns: run `usage migrate`") from None
            raise click.ClickException(f"ClickHouse could not answer: {one_line(error)}") from error


def _write(out: Path, content: bytes) -> None:
    """Write a file so that nobody reads half of it. Raises click.ClickException."""
    partial = out.with_name(f".{out.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise click.ClickException(f"cannot write {out}: {error.strerror}") from None

"""`usage statement`: what a customer owes for an app in a period, and for what."""

import csv
import json
import sys

import click
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.billing import NoStatementError, only_app, read_freshness, read_statement
from pipeline.cli.connect import clickhouse_client, one_line
from pipeline.cli.options import options_for
from pipeline.cli.statement_table import print_statement
from pipeline.domain.statements import DIMENSIONS, Statement
from pipeline.settings import Settings

_NOT_MIGRATED = (60, 81)
"""ClickHouse's UNKNOWN_TABLE and UNKNOWN_DATABASE."""


@click.command("statement")
@click.option("--customer", required=True, metavar="ID", help="Who pays.")
@click.option("--app", metavar="ID", help="For which app; may be left out when the customer used just one.")
@click.option("--period", required=True, metavar="YYYY-MM-DD", help="The billing period, named by its first day.")
@click.option("--detail", type=click.Choice(DIMENSIONS), help="Also show each row's parts, with their tokens.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How to print it; json and csv have the exact charge too, in 10^-12 of the currency (charge_pico).",
)
@options_for("clickhouse", "catalog")
def statement_command(
    customer: str, app: str | None, period: str, detail: str | None, form: str, settings: Settings
) -> None:
    """Show what a customer owes for an app in a billing period, and for what.

    Read from ClickHouse. With --catalog the table shows the customer's name and the currency.
    """
    client = clickhouse_client(settings)
    try:
        statement = read_statement(client, customer, app or only_app(client, customer, period), period, detail)
        if form == "table":
            _print_table(statement, client, settings)
        elif form == "json":
            click.echo(json.dumps(statement.as_dict(), indent=1, ensure_ascii=False))
        else:
            _print_csv(statement)
    except NoStatementError as error:
        raise click.ClickException(str(error)) from None
    except ClickHouseError as error:
        if getattr(error, "code", None) in _NOT_MIGRATED:
            raise click.ClickException("ClickHouse has no usage tables yet: run `usage migrate`") from None
        raise click.ClickException(f"ClickHouse could not answer: {one_line(error)}") from error
    finally:
        client.close()


def _print_table(statement: Statement, client: Client, settings: Settings) -> None:
    catalog = None
    if settings.catalog is not None:
        from pipeline.cli.catalogs import load_or_explain  # noqa: PLC0415 - half of a second that most calls need not

        catalog = load_or_explain(settings.catalog)
    print_statement(
        statement,
        customer_name=catalog.customers.get(statement.customer) if catalog else None,
        currency=catalog.currency if catalog else None,
        freshness=read_freshness(client),
    )


def _print_csv(statement: Statement) -> None:
    """Print a line a row; with detail, a line a part, whose exact charges sum to the rows'."""
    head = {"customer": statement.customer, "app": statement.app, "period": statement.period}
    lines = []
    for row in statement.as_dict()["rows"]:
        parts = row.pop("detail", None)
        if parts is None:
            lines.append({**head, **row})
        names = {**head, "feature": row["feature"], "unit": row["unit"]}
        lines += [{**names, **part} for part in parts or ()]
    writer = csv.DictWriter(sys.stdout, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)

"""`usage statement`: what a customer owes for an app in a period, and for what, down to single lines."""

import csv
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.billing import NoStatementError, only_app, read_freshness, read_statement
from pipeline.billing.single_lines import LIMIT_MAX, LinesPage, read_page
from pipeline.cli.connect import clickhouse_client, one_line
from pipeline.cli.options import options_for
from pipeline.cli.statement_lines import print_lines
from pipeline.cli.statement_table import print_statement
from pipeline.domain.catalog import Catalog
from pipeline.domain.statements import DIMENSIONS, Statement
from pipeline.settings import Settings

_NOT_MIGRATED = (60, 81)
"""ClickHouse's UNKNOWN_TABLE and UNKNOWN_DATABASE."""
_FILTERS = ("feature", "unit", *DIMENSIONS)
_F = TypeVar("_F", bound=Callable[..., Any])


def _filters(command: _F) -> _F:
    for name in reversed(_FILTERS):
        command = click.option(f"--{name}", metavar="NAME", help=f"With --lines: only those of this {name}.")(command)
    return command


@click.command("statement")
@click.option("--customer", required=True, metavar="ID", help="Who pays.")
@click.option("--app", metavar="ID", help="For which app; may be left out when the customer used just one.")
@click.option("--period", required=True, metavar="YYYY-MM-DD", help="The billing period, named by its first day.")
@click.option("--detail", type=click.Choice(DIMENSIONS), help="Also show each row's parts, with their tokens.")
@click.option("--lines", "single", is_flag=True, help="Show the single lines that a figure is the sum of, in pages.")
@_filters
@click.option("--after", type=click.IntRange(0), default=0, metavar="SEQ", help="With --lines: those behind this line.")
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=100,
    show_default=True,
    help="With --lines: how many at most.",
)
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
    customer: str,
    app: str | None,
    period: str,
    detail: str | None,
    single: bool,
    after: int,
    limit: int,
    form: str,
    settings: Settings,
    **filters: str | None,
) -> None:
    """Show what a customer owes for an app in a billing period, and for what.

    Read from ClickHouse. With --catalog it also says whether the statement is open or closed, the customer's name and the
    currency. With --lines it shows the lines below a figure: `--lines --feature F --unit U` those of one row.
    """
    where = {name: value for name, value in filters.items() if value is not None}
    _check_options(where, detail, single=single, after=after)
    catalog = _catalog(settings, form)
    client = clickhouse_client(settings)
    try:
        app = app or only_app(client, customer, period)
        if single:
            _show_lines(read_page(client, customer, app, period, where, after, limit), where, form)
        else:
            statement = read_statement(client, customer, app, period, detail, catalog=catalog)
            _show_statement(statement, client, catalog, form)
    except NoStatementError as error:
        raise click.ClickException(str(error)) from None
    except ClickHouseError as error:
        if getattr(error, "code", None) in _NOT_MIGRATED:
            raise click.ClickException("ClickHouse has no usage tables yet: run `usage migrate`") from None
        raise click.ClickException(f"ClickHouse could not answer: {one_line(error)}") from error
    finally:
        client.close()


def _check_options(where: Mapping[str, str], detail: str | None, *, single: bool, after: int) -> None:
    if single and detail is not None:
        raise click.UsageError(f"--lines and --detail exclude each other: narrow lines with --{detail} NAME")
    if not single and (where or after):
        name = next(iter(where), "after")
        raise click.UsageError(f"--{name} narrows lines: give --lines too, or --detail for the parts of each row")


def _catalog(settings: Settings, form: str) -> Catalog | None:
    if settings.catalog is None or form == "csv":
        return None
    from pipeline.cli.catalogs import load_or_explain  # noqa: PLC0415 - half of a second that most calls need not

    return load_or_explain(settings.catalog)


def _show_statement(statement: Statement, client: Client, catalog: Catalog | None, form: str) -> None:
    if form == "json":
        click.echo(json.dumps(statement.as_dict(), indent=1, ensure_ascii=False))
    elif form == "csv":
        _print_csv(statement)
    else:
        print_statement(
            statement,
            customer_name=catalog.customers.get(statement.customer) if catalog else None,
            currency=catalog.currency if catalog else None,
            freshness=read_freshness(client),
        )


def _print_csv(statement: Statement) -> None:
    """Print a line a row; with detail, a line a part, whose exact charges sum to the rows'."""
    head = {"customer": statement.customer, "app": statement.app, "period": statement.period}
    rows = []
    for row in statement.as_dict()["rows"]:
        parts = row.pop("detail", None)
        if parts is None:
            rows.append({**head, **row})
        names = {**head, "feature": row["feature"], "unit": row["unit"]}
        rows += [{**names, **part} for part in parts or ()]
    _write_csv(rows)


def _show_lines(page: LinesPage, where: Mapping[str, str], form: str) -> None:
    if form == "json":
        click.echo(json.dumps(page.as_dict(), indent=1, ensure_ascii=False))
    elif form == "csv":
        _write_csv([{**line, "pools": json.dumps(line["pools"], ensure_ascii=False)} for line in page.lines])
    else:
        print_lines(page, where)


def _write_csv(rows: list[dict[str, Any]]) -> None:
    if rows:
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

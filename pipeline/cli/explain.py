"""`usage explain`: why a line costs what it does, and why a bill changed."""

import json
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar

import click
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.billing.explain_change import explain_change
from pipeline.billing.explain_line import explain_line
from pipeline.billing.statement import NoStatementError, only_app
from pipeline.cli.connect import clickhouse_client, one_line
from pipeline.cli.options import options_for
from pipeline.domain.changes import ChangeExplanation
from pipeline.domain.explanations import LineExplanation
from pipeline.domain.explanations_words import cents_text
from pipeline.settings import Settings

T = TypeVar("T")
_NOT_MIGRATED = (47, 60, 81)
"""ClickHouse's UNKNOWN_IDENTIFIER, UNKNOWN_TABLE and UNKNOWN_DATABASE."""
_WIDTH = 118
_FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print it; json has every number, amounts also in 10^-12 of the currency (_pico).",
)


@click.group("explain")
def explain_group() -> None:
    """Say why a line costs what it does, and why a bill changed."""


@explain_group.command("line")
@click.option("--customer", required=True, metavar="ID", help="Who pays.")
@click.option("--seq", required=True, type=click.IntRange(1), help="The line's number among the customer's.")
@_FORMAT
@options_for("kafka", "clickhouse", "catalog")
def line_command(customer: str, seq: int, form: str, settings: Settings) -> None:
    """Say why a line costs what it does: what pools had and covered, price row, tiers, surcharges, who gets what.

    The line is rated again from the catalog version that it names and from the customer's earlier lines; when that gives
    anything else than the stored line, the differences are printed and the exit code is 1. The catalog version is taken
    from --catalog, when it is that version, else from Kafka. Numbers such as R6.4 are rules, see docs/spec.md.
    """
    from pipeline.cli.catalogs import catalogs_by_digest  # noqa: PLC0415 - half of a second that `change` need not

    catalog_of = catalogs_by_digest(settings)
    found = _asked(settings, lambda client: explain_line(client, catalog_of, customer, seq))
    if form == "json":
        click.echo(json.dumps(found.as_dict(), indent=1, ensure_ascii=False))
    else:
        for text in _line_text(found):
            click.echo(text)
    if not found.verified:
        raise click.exceptions.Exit(1)


@explain_group.command("change")
@click.option("--customer", required=True, metavar="ID", help="Who pays.")
@click.option("--app", metavar="ID", help="For which app; may be left out when the customer used just one.")
@click.option("--period", required=True, metavar="YYYY-MM-DD", help="The billing period, named by its first day.")
@click.option(
    "--against", metavar="YYYY-MM-DD", help="The period to compare with; without it, the one before that has lines."
)
@_FORMAT
@options_for("clickhouse")
def change_command(
    customer: str, app: str | None, period: str, against: str | None, form: str, settings: Settings
) -> None:
    """Say why a customer's bill differs from that of another period, in parts that sum exactly to the difference.

    The parts: volume, mix of models and features, allowance, blocked, price and plan, cost of the calls, surcharge, failed
    and repeated calls, late usage; rounding to cents last. docs/explain.md says what each of them is.
    """

    def ask(client: Client) -> ChangeExplanation:
        return explain_change(client, customer, app or only_app(client, customer, period), period, against)

    found = _asked(settings, ask)
    if form == "json":
        click.echo(json.dumps(found.as_dict(), indent=1, ensure_ascii=False))
        return
    for text in _change_text(found):
        click.echo(text)


def _asked(settings: Settings, ask: Callable[[Client], T]) -> T:
    """Return ClickHouse's answer. Raises click.ClickException, which says what to do."""
    with closing(clickhouse_client(settings)) as client:
        try:
            return ask(client)
        except NoStatementError as error:
            raise click.ClickException(str(error)) from None
        except ClickHouseError as error:
            if getattr(error, "code", None) in _NOT_MIGRATED:
                raise click.ClickException(
                    f"ClickHouse lacks a table: run `usage migrate` ({one_line(error)})"
                ) from None
            raise click.ClickException(f"ClickHouse could not answer: {one_line(error)}") from error


def _line_text(found: LineExplanation) -> Iterator[str]:
    yield found.headline
    yield ""
    width = max(len(each.title) for each in found.sentences) + 2
    for each in found.sentences:
        text = f"{each.text} [{', '.join(each.rules)}]" if each.rules else each.text
        yield from textwrap.wrap(
            text, _WIDTH, initial_indent=each.title.ljust(width), subsequent_indent=" " * width, break_on_hyphens=False
        )
    yield ""
    for note in found.notes:
        yield f"Note: {note}"
    if found.verified:
        yield (
            f"Checked: rated again over the {found.earlier_lines:,} earlier lines of the same plan version and period, "
            "which gives the stored line."
        )
        return
    yield "NOT EXPLAINED: rated again from the catalog and the earlier lines, this line comes out differently:"
    for difference in found.differences:
        yield f"  {difference.field}: stored {difference.stored}, comes out as {difference.computed}"
    yield "Run `usage audit` on the period, and check that --catalog is the version that rated the line."


def _change_text(found: ChangeExplanation) -> Iterator[str]:
    yield found.headline
    yield from found.notes
    yield ""
    width = max((len(cents_text(each.cents)) for each in found.sentences), default=0)
    for each in found.sentences:
        yield f"{cents_text(each.cents).rjust(width)}  {each.text} [{each.part}]"
    if found.sentences:
        yield f"{cents_text(found.difference_cents).rjust(width)}  in all"

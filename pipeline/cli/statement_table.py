"""A statement for people: quantities in the customer's words first, then the amount."""

from datetime import timedelta

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.billing import Freshness
from pipeline.domain.instants import DAY_US, day_of
from pipeline.domain.money import format_cents
from pipeline.domain.periods import period_at
from pipeline.domain.statements import DetailRow, Statement, StatementRow, format_exact
from pipeline.domain.words import count_of

PLAIN_WIDTH = 240
"""Columns of text where there is no terminal."""
_STATES = {
    "open": "Open: more usage may still come.",
    "closed": "Closed: the period and its grace are over; `usage close` freezes it.",
    "frozen": "Frozen: the same for ever, lines up to {cut_off}.",
}


def print_statement(
    statement: Statement,
    *,
    customer_name: str | None = None,
    currency: str | None = None,
    freshness: Freshness | None = None,
    console: Console | None = None,
) -> None:
    """Print a statement as a table: drawn on a terminal, plain aligned text elsewhere."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=PLAIN_WIDTH, color_system=None)
    who = f"{customer_name} ({statement.customer})" if customer_name else statement.customer
    console.print(Text(f"Statement for {who}, app {statement.app}", style="bold"))
    console.print(Text(f"{_days(statement.period)}, UTC{f', amounts in {currency}' if currency else ''}"))
    if statement.state is not None:
        console.print(Text(_STATES[statement.state].format(cut_off=statement.cut_off)))
    console.print()
    console.print(_table(statement, drawn=console.is_terminal))
    if freshness is not None:
        console.print()
        console.print(Text(f"As of {freshness.at:%Y-%m-%d %H:%M:%S} UTC, when the sink last wrote.", style="dim"))


def _days(period: str) -> str:
    """Return the first and the last day of the period that is named by its first day (R3.1)."""
    start = day_of(0).fromisoformat(period)
    found = period_at((start - day_of(0)).days * DAY_US, start.day)
    last = day_of(found.end_us // DAY_US) - timedelta(days=1)
    return f"{period} to {last.isoformat()}"


def format_amount(cents: int) -> str:
    """Return cents with thousands separated, such as "1,980.15"."""
    whole, fraction = format_cents(abs(cents)).split(".")
    return f"{'-' if cents < 0 else ''}{int(whole):,}.{fraction}"


def exact(pico: int) -> str:
    """Return an amount with all the decimals it has, two at least."""
    whole, fraction = format_exact(pico).split(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def _table(statement: Statement, *, drawn: bool) -> Table:
    table = Table(box=box.SIMPLE if drawn else None, pad_edge=False, padding=(0, 1), show_footer=False)
    table.add_column("Feature")
    for name in ("Used", "Included", "Granted", "Paid", "Blocked", "Amount"):
        table.add_column(name, justify="right")
    if statement.dimension is not None:
        for name in ("Tokens in", "Cached", "Tokens out"):
            table.add_column(name, justify="right")
    for row in statement.rows:
        table.add_row(*_row_cells(row))
        for part in row.detail:
            table.add_row(*_detail_cells(part, row.unit), style="dim")
    table.add_section()
    table.add_row(Text("Total", style="bold"), *[""] * 5, Text(format_amount(statement.total_cents), style="bold"))
    return table


def _row_cells(row: StatementRow) -> list[Text]:
    counts = (f"{count:,}" for count in (row.included, row.granted, row.overage, row.blocked))
    return [
        Text(text) for text in (row.feature, count_of(row.quantity, row.unit), *counts, format_amount(row.amount_cents))
    ]


def _detail_cells(part: DetailRow, unit: str) -> list[Text]:
    """Return the cells of a part; its amount is exact, not rounded: the parts add up to the row."""
    counts = (f"{count:,}" for count in (part.included, part.granted, part.overage, part.blocked))
    tokens = (f"{count:,}" for count in (part.input_tokens, part.cached_input_tokens, part.output_tokens))
    cells = (f"  {part.name}", count_of(part.quantity, unit), *counts, exact(part.charge_pico), *tokens)
    return [Text(text) for text in cells]

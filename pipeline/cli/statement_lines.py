"""The single lines below a figure of a statement, for people."""

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.billing.single_lines import LinesPage
from pipeline.cli.statement_table import PLAIN_WIDTH, exact
from pipeline.domain.words import count_of

_NAMES = ("feature", "workspace", "deployment", "environment", "model", "kind")


def print_lines(page: LinesPage, where: Mapping[str, str], *, console: Console | None = None) -> None:
    """Print a page of lines, what all pages sum to, and how the next page is asked for."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=PLAIN_WIDTH, color_system=None)
    narrowed = "".join(f", {name} {value}" for name, value in where.items())
    console.print(Text(f"Lines of {page.customer}, app {page.app}, period {page.period}{narrowed}", style="bold"))
    console.print()
    console.print(_table(page, drawn=console.is_terminal))
    console.print()
    console.print(Text(f"{page.count:,} lines, whose charges sum to {exact(page.charge_pico)}."))
    if page.next_after_seq is not None:
        console.print(Text(f"There are more: --after {page.next_after_seq}", style="dim"))


def _table(page: LinesPage, *, drawn: bool) -> Table:
    table = Table(box=box.SIMPLE if drawn else None, pad_edge=False, padding=(0, 1))
    table.add_column("Line", justify="right")
    for name in ("Posted", *(name.capitalize() for name in _NAMES)):
        table.add_column(name)
    for name in ("Used", "Paid", "Charge"):
        table.add_column(name, justify="right")
    for line in page.lines:
        cells = [str(line["seq"]), line["posted_at"], *(line[name] for name in _NAMES)]
        cells += [count_of(line["quantity"], line["unit"]), f"{line['overage']:,}", exact(line["charge_pico"])]
        table.add_row(*map(Text, cells))
    return table

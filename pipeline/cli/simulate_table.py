"""A simulation for people: who pays more, what builders earn, what could not be simulated."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.statement_table import format_amount
from pipeline.domain.money import round_to_cents
from pipeline.domain.resim import BillChange, Simulation, percent_text, plans_text

ROWS_MAX = 40
_PLAIN_WIDTH = 240


def print_simulation(simulation: Simulation, more_than_pico: int, percent: str, console: Console | None = None) -> None:
    """Print a simulation: bills with the largest difference first."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=_PLAIN_WIDTH, color_system=None)
    paying = simulation.paying_more_than(more_than_pico)
    console.print(Text(f"Bills of {simulation.period}, as they are and under the new catalog", style="bold"))
    console.print(Text(f"Amounts in {simulation.currency}; difference: what customers would pay more"))
    for note in simulation.notes:
        console.print(Text(f"Note: {note}"))
    console.print()
    bills = sorted(simulation.bills, key=lambda bill: (-abs(bill.difference_cents), bill.customer, bill.app))
    console.print(_bills(bills, {id(bill) for bill in paying}, drawn=console.is_terminal))
    if len(bills) > ROWS_MAX:
        console.print(Text(f"... and {len(bills) - ROWS_MAX:,} more bills that change less (--format csv has all)"))
    console.print()
    console.print(Text(f"{_count(len(paying), 'bill grows', 'bills grow')} by more than {percent} % (marked with !)"))
    console.print()
    console.print(_builders(simulation, drawn=console.is_terminal))
    _print_ways(simulation, console)


def _bills(bills: Sequence[BillChange], paying: set[int], *, drawn: bool) -> Table:
    table = _table(drawn=drawn)
    for name in ("", "Customer", "App", "Plan"):
        table.add_column(name)
    for name in ("Old", "New", "Difference", "%", "Blocked units"):
        table.add_column(name, justify="right")
    for bill in bills[:ROWS_MAX]:
        table.add_row(*map(Text, _cells(bill, marked=id(bill) in paying)))
    old, new = (sum(getattr(bill, side).total_cents for bill in bills) for side in ("old", "new"))
    total = ("", "Total", "", "", format_amount(old), format_amount(new), _signed(new - old))
    table.add_section()
    table.add_row(*[Text(cell, style="bold") for cell in (*total, percent_text(new - old, old) or "", "")])
    return table


def _cells(bill: BillChange, *, marked: bool) -> tuple[str, ...]:
    before, after = plans_text(bill.old), plans_text(bill.new)
    old_blocked, new_blocked = bill.old.total.blocked, bill.new.total.blocked
    blocked = f"{old_blocked:,}" if old_blocked == new_blocked else f"{old_blocked:,} -> {new_blocked:,}"
    return (
        "!" if marked else "",
        bill.customer,
        bill.app,
        before if before == after else f"{before or 'none'} -> {after or 'none'}",
        format_amount(bill.old.total_cents),
        format_amount(bill.new.total_cents),
        _signed(bill.difference_cents),
        percent_text(bill.difference_cents, bill.old.total_cents) or "",
        blocked,
    )


def _builders(simulation: Simulation, *, drawn: bool) -> Table:
    table = _table(drawn=drawn)
    table.add_column("Builder")
    for name in ("Earnings old", "new", "Difference"):
        table.add_column(name, justify="right")
    for builder, (old, new) in simulation.earnings().items():
        cents = round_to_cents(old), round_to_cents(new)
        table.add_row(builder, *map(format_amount, cents), _signed(round_to_cents(new - old)))
    return table


def _print_ways(simulation: Simulation, console: Console) -> None:
    customers = {way: len({bill.customer for bill in simulation.bills if bill.way == way}) for way in ("lines", "log")}
    console.print()
    console.print(Text(f"{_count(customers['lines'], 'customer', 'customers')} rated from the lines in ClickHouse"))
    if simulation.from_log:
        console.print(
            Text(f"{_count(simulation.from_log.total(), 'customer', 'customers')} rated from the log in Kafka:")
        )
        for reason, count in simulation.from_log.most_common():
            console.print(Text(f"  {count:,}: {reason}"))
    if simulation.skipped:
        console.print(Text(f"NOT simulated: {_count(len(simulation.skipped), 'customer', 'customers')}", style="bold"))
        for each in simulation.skipped[:ROWS_MAX]:
            console.print(Text(f"  {each.customer}: {each.reason}"))


def _table(*, drawn: bool) -> Table:
    return Table(box=box.SIMPLE if drawn else None, pad_edge=False, padding=(0, 1), show_footer=False)


def _signed(cents: int) -> str:
    return f"{'+' if cents > 0 else ''}{format_amount(cents)}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"

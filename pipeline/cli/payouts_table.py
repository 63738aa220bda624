"""Payouts for people: where the earnings come from, what is taken off, what is paid."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.billing.payouts import PayoutReport, PayoutStatement
from pipeline.cli.payouts_make import Outcome
from pipeline.cli.statement_table import format_amount
from pipeline.domain.catalog import Catalog
from pipeline.domain.money import round_to_cents
from pipeline.domain.payouts import Payout
from pipeline.domain.statements import format_exact

_PLAIN_WIDTH = 240


def print_payouts(report: PayoutReport, catalog: Catalog, console: Console | None = None) -> None:
    """Print a statement for each builder: drawn on a terminal, plain aligned text elsewhere."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=_PLAIN_WIDTH, color_system=None)
    console.print(Text(f"Payouts for {report.month}, UTC, amounts in {report.currency}", style="bold"))
    for statement in report.statements:
        console.print()
        who = _named(statement.builder_name, statement.payout.builder)
        console.print(Text(f"{who}: payout {statement.payout.id}", style="bold"))
        console.print(_table(statement, catalog, drawn=console.is_terminal))
        console.print(Text(state_sentence(statement.payout, catalog)))
    if not report.statements:
        console.print(Text(f"\nNobody has earnings posted in {report.month} or anything carried in."))


def format_short(pico: int) -> str:
    """Return an amount with thousands separated and all the decimals it has, two at least."""
    whole, fraction = format_exact(abs(pico)).split(".")
    return f"{'-' if pico < 0 else ''}{int(whole):,}.{fraction.rstrip('0').ljust(2, '0')}"


def state_sentence(payout: Payout, catalog: Catalog) -> str:
    """Say where a payout stands."""
    currency = payout.currency
    if payout.made_at is not None:
        since = payout.posted_since_pico
        more = f" {format_short(since)} was posted into {payout.month} since: see the next payout." if since else ""
        return f"{_settled(payout, catalog)} Made {payout.made_at[:19].replace('T', ' ')} UTC.{more}"
    if payout.carried_into is not None:
        return f"Carried: it is part of the later payout {payout.carried_into}."
    if payout.state == "carried":
        return (
            f"Carried: nothing is paid, {format_short(payout.carried_out_pico)} {currency} goes into the next payout."
        )
    if payout.state == "payable":
        return f"Payable since {payout.payable_from}: make it with `usage payouts make --month {payout.month}`."
    why = "Open: the month goes on" if payout.state == "open" else "Held"
    return f"{why}; it can be made from {payout.payable_from} on."


def outcome_sentence(outcome: Outcome, catalog: Catalog) -> str:
    """Say what came of making a payout."""
    payout = outcome.payout
    who = _named(catalog.builders.get(payout.builder, payout.builder), payout.builder)
    if outcome.result == "not made":
        return f"not made      {payout.id}: the month is part of the later payout {payout.carried_into}"
    pico = payout.paid_pico or payout.payable_pico
    amount = f"{format_amount(round_to_cents(pico))} {payout.currency} to {who}"
    if not pico:
        carried = f"{format_short(payout.carried_out_pico)} {payout.currency}"
        amount = f"nothing is paid to {who}, {carried} is carried over{_below(payout, catalog)}"
    when = (
        f", {payout.made_at[:19].replace('T', ' ')} UTC" if outcome.result == "made already" and payout.made_at else ""
    )
    return f"{outcome.result:<12}  {payout.id}{when}: {amount}"


def _settled(payout: Payout, catalog: Catalog) -> str:
    if payout.paid_pico:
        return f"Paid: {format_amount(round_to_cents(payout.paid_pico))} {payout.currency}."
    carried = f"{format_short(payout.carried_out_pico)} {payout.currency}"
    return f"Carried: nothing was paid, {carried} goes into the next payout{_below(payout, catalog)}."


def _below(payout: Payout, catalog: Catalog) -> str:
    minimum_pico = catalog.payouts.minimum_pico
    if 0 < payout.carried_out_pico < minimum_pico:
        return f" (the minimum is {format_short(minimum_pico)})"
    return ""


def _table(statement: PayoutStatement, catalog: Catalog, *, drawn: bool) -> Table:
    table = Table(box=box.SIMPLE if drawn else None, pad_edge=False, padding=(0, 1))
    table.add_column("App")
    table.add_column("Customer")
    table.add_column("Lines", justify="right")
    table.add_column("Amount", justify="right")
    for part in statement.parts:
        customer = _named(catalog.customers.get(part.customer, part.customer), part.customer)
        cells = (part.app, customer, f"{part.lines:,}", format_short(part.earnings_pico))
        table.add_row(*map(Text, cells))
    table.add_section()
    for name, amount in _sums(statement.payout):
        table.add_row(Text(name), "", "", Text(amount))
    return table


def _sums(payout: Payout) -> list[tuple[str, str]]:
    percent = format_exact(payout.fee_percent_pico).rstrip("0").rstrip(".")
    paid = round_to_cents(payout.paid_pico or payout.payable_pico)
    rows = [("Posted since, not in it", format_short(-payout.posted_since_pico))] if payout.posted_since_pico else []
    return [
        *rows,
        ("Earnings", format_short(payout.earnings_pico)),
        (f"Platform fee, {percent} %", format_short(-payout.fee_pico)),
        ("Carried in", format_short(payout.carried_in_pico)),
        ("Paid" if payout.made_at else "To be paid", format_amount(paid)),
        ("Carried over", format_short(payout.carried_out_pico)),
    ]


def _named(name: str, identity: str) -> str:
    return identity if name == identity else f"{name} ({identity})"

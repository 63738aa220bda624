"""What customers are told of a migration: what changes, from when, and what their last bill would have been."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.catalog.diff_plans import plan_changes
from pipeline.catalog.migrate import Migration
from pipeline.domain.catalog import Catalog
from pipeline.domain.money import format_cents
from pipeline.domain.resim import BillChange, percent_text


class Compared(NamedTuple):
    """Bills of a past period as they were and under the new terms, by (customer, app)."""

    period: str
    currency: str
    bills: Mapping[tuple[str, str], BillChange]


def notice_of(catalog: Catalog, customer: str, made: Migration, compared: Compared | None) -> str:
    """Return the notice for a customer, as Markdown."""
    changes = plan_changes(made.old, made.new) or ["nothing that you will notice"]
    parts = [
        f"## {catalog.customers[customer]} ({customer})",
        f"From {made.effective} on, your plan {made.old.id} for {made.old.app} changes. Until then everything stays as it is.",
        "What changes:",
        "\n".join(f"- {change[0].upper()}{change[1:]}." for change in changes),
    ]
    bill = None if compared is None else compared.bills.get((customer, made.old.app))
    if compared is not None and bill is not None:
        parts.append(_bill_sentence(compared, bill))
    return "\n\n".join(parts)


def _bill_sentence(compared: Compared, bill: BillChange) -> str:
    old, new, grown = bill.old.total_cents, bill.new.total_cents, bill.difference_cents
    last = f"Your bill for the period that began on {compared.period} was {format_cents(old)} {compared.currency}."
    if grown == 0:
        return f"{last} Under the new terms it would have been the same."
    share = percent_text(abs(grown), old)
    shown = f"{format_cents(abs(grown))} {compared.currency}{f' ({share} %)' if share is not None else ''}"
    blocked = bill.new.total.blocked - bill.old.total.blocked
    more = f" {blocked:,} more units would have been blocked." if blocked > 0 else ""
    return (
        f"{last} Under the new terms the same usage would have cost {format_cents(new)} {compared.currency}: {shown} "
        f"{'more' if grown > 0 else 'less'}.{more}"
    )


def report_of(
    catalog: Catalog, migrations: Sequence[Migration], compared: Compared | None, simulated: str | None
) -> str:
    """Return the whole report, as Markdown: the migrations, the simulation as it was printed, a notice a customer."""
    parts = ["# Migration of plan terms"]
    parts += [
        f"{made.old.id}: version {made.old.version} becomes version {made.new.version} on {made.effective}, for "
        f"{len(made.customers):,} customers."
        for made in migrations
    ]
    if simulated is not None:
        parts.append(f"```\n{simulated.rstrip()}\n```")
    parts.append("# Notices")
    parts += [notice_of(catalog, customer, made, compared) for made in migrations for customer in made.customers]
    return "\n\n".join(parts) + "\n"

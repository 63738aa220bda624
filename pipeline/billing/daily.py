"""Usage by day of posting and by whatever else is asked for."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.billing.sums import MEASURES, read_sums
from pipeline.domain.statements import format_exact


class DailyRow(dict[str, Any]):
    """The names that it was asked by, then `lines`, counts, and amounts in picodollars (`*_pico`), all integers."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON: days as text, each amount also as a decimal string without the suffix."""
        shown = {name: value.isoformat() if isinstance(value, date) else value for name, value in self.items()}
        for name in MEASURES:
            if name.endswith("_pico"):
                shown[name.removesuffix("_pico")] = format_exact(self[name])
        return shown


def read_daily(
    client: Client,
    *,
    customer: str | None = None,
    apps: Iterable[str] | None = None,
    builder: str | None = None,
    since: date,
    until: date,
    by: Sequence[str],
) -> list[DailyRow]:
    """Return usage posted on the days from `since` up to `until` (exclusive, UTC), one row for each combination of `by`.

    `by` are names of `billing.sums.DIMENSIONS`. Raises ValueError for another.
    """
    rows = read_sums(client, by, customer=customer, apps=apps, builder=builder, since=since, until=until)
    return [DailyRow(row) for row in rows]

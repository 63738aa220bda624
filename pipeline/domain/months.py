"""Calendar months in UTC, by which builders are paid and providers are owed (R8.2)."""

import re

from pipeline.domain.instants import day_start_us
from pipeline.domain.periods import Period, period_at

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])", re.ASCII)


def month_of(text: str) -> Period:
    """Return the month "2026-11" as the period from its first day. Raises ValueError when it is none."""
    if not _MONTH.fullmatch(text) or text.startswith("0000"):
        raise ValueError(f"{text!r} is no month: write one such as 2026-11")
    return period_at(day_start_us(f"{text}-01"), 1)

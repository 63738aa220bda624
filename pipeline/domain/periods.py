"""Billing periods and the shorter windows inside them (R3.1, R4.2)."""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from pipeline.domain.instants import DAY_US, HOUR_US, day_of, day_start_us

_DECEMBER = 12


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar month from its anchor day at 00:00 UTC to the next one's: [start_us, end_us)."""

    name: str
    """The first day, such as "2026-11-01"."""
    start_us: int
    end_us: int


def period_at(instant_us: int, anchor_day: int) -> Period:
    """Return the period of a plan with this anchor day that holds an instant (R3.1)."""
    return _period_of_day(instant_us // DAY_US, anchor_day)


@lru_cache(maxsize=8192)
def _period_of_day(day_number: int, anchor_day: int) -> Period:
    day = day_of(day_number)
    start = day.replace(day=anchor_day)
    if day.day < anchor_day:
        start = _month_after(start, -1)
    end = _month_after(start, 1)
    return Period(start.isoformat(), day_start_us(start.isoformat()), day_start_us(end.isoformat()))


def _month_after(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, _DECEMBER)
    return date(year, month + 1, day.day)


def window_start(per: str, instant_us: int) -> int:
    """Return where the UTC day or hour that holds an instant begins; -1 for the billing period itself (R4.2)."""
    if per == "day":
        return instant_us // DAY_US * DAY_US
    if per == "hour":
        return instant_us // HOUR_US * HOUR_US
    return -1

"""Times and periods of SPEC.md section 3, for the naive model."""

import re
from datetime import UTC, date, datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))",
)


def days(count: int) -> timedelta:
    """Return so many days."""
    return timedelta(days=count)


def minutes(count: int) -> timedelta:
    """Return so many minutes."""
    return timedelta(minutes=count)


def parse_rfc3339(text: str) -> datetime | None:
    """Read a time with an offset as UTC, digits beyond microseconds cut (R2.2); None when it is not one."""
    match = RFC3339.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second, fraction, sign, off_hours, off_minutes = match.groups()
    offset = timedelta(0)
    if sign:
        if int(off_hours) > 23 or int(off_minutes) > 59:
            return None
        offset = timedelta(hours=int(off_hours), minutes=int(off_minutes)) * (-1 if sign == "-" else 1)
    micros = int(((fraction or "") + "000000")[:6])
    try:
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micros, timezone(offset))
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def rfc3339(moment: datetime) -> str:
    """Write a time as R7.1 asks: UTC with microseconds."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def midnight(day: str | date) -> datetime:
    """Return 00:00 UTC of a catalog date."""
    if isinstance(day, str):
        day = date.fromisoformat(day)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def period_of(moment: datetime, anchor_day: int) -> tuple[datetime, datetime]:
    """Return start and end of the period that holds the moment (R3.1)."""
    year, month = moment.year, moment.month
    if moment.day < anchor_day:
        year, month = (year - 1, 12) if month == 1 else (year, month - 1)
    after_year, after_month = (year + 1, 1) if month == 12 else (year, month + 1)
    start = datetime(year, month, anchor_day, tzinfo=UTC)
    return start, datetime(after_year, after_month, anchor_day, tzinfo=UTC)


def window_of(moment: datetime, period: datetime, per: str) -> datetime:
    """Return the start of the window that holds the moment (R4.2)."""
    if per == "hour":
        return moment.replace(minute=0, second=0, microsecond=0)
    if per == "day":
        return moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return period

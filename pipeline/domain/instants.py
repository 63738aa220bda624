"""Instants as integers of microseconds since 1970-01-01T00:00:00Z (R3.1)."""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

SECOND_US = 1_000_000
SECOND_MS = 1000
MILLISECOND_US = 1000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_FIRST_US = (1 - _EPOCH_ORDINAL) * DAY_US
_END_US = (date.max.toordinal() + 1 - _EPOCH_ORDINAL) * DAY_US
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))",
    re.ASCII,
)
_MINUTE_US = 60 * SECOND_US
_MINUTES_MAX = 1 << 16
"""Remembered: those of 45 days."""
_SIXTIETHS = {f"{number:02d}": number for number in range(60)}
_UTC_FORMS = ("Z", "+00:00")
_MICROS = {f"{number:03d}{utc}": number for number in range(1000) for utc in _UTC_FORMS}
_FRACTIONS = {"Z": 0, "+00:00": 0} | {f".{text}": number * 1000 for text, number in _MICROS.items()}
"""What may follow the seconds, to microseconds: the forms of most senders are worth a way of their own."""


@lru_cache(maxsize=4096)
def day_start_us(text: str) -> int:
    """Return the instant at which the day "2026-11-01" begins. Raises ValueError when there is no such day."""
    return (date.fromisoformat(text).toordinal() - _EPOCH_ORDINAL) * DAY_US


def parse_instant(text: str) -> int:
    """Return an RFC 3339 time with an offset, digits beyond microseconds cut (R2.2). Raises ValueError."""
    fraction_us = _FRACTIONS.get(text[19:])
    if fraction_us is None:
        fraction_us = _microseconds(text)
    if fraction_us is not None:
        minute_us, second = _minute_us(text[:17]), _SIXTIETHS.get(text[17:19])
        if minute_us is not None and second is not None:
            return minute_us + second * SECOND_US + fraction_us
    return _parse_any(text)


def _microseconds(text: str) -> int | None:
    """Return a fraction of six digits, None when a time has none."""
    millis, micros = _FRACTIONS.get(f"{text[19:23]}Z"), _MICROS.get(text[23:])
    return None if millis is None or micros is None else millis + micros


@lru_cache(maxsize=_MINUTES_MAX)
def _minute_us(text: str) -> int | None:
    """Return the instant of "2026-11-03T10:22:"."""
    try:
        return _parse_any(f"{text}00Z")
    except ValueError:
        return None


def _parse_any(text: str) -> int:
    """Be the reference of `parse_instant`."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time with an offset")
    day, hour, minute, second, fraction, sign, offset_hour, offset_minute = found.groups()
    try:
        instant = day_start_us(day)
    except ValueError:
        raise ValueError(f"{text!r} names a day that does not exist") from None
    instant += (int(hour) * 3600 + int(minute) * 60 + int(second)) * SECOND_US
    if fraction is not None:
        instant += int(fraction[:6].ljust(6, "0"))
    if sign is not None:
        offset = (int(offset_hour) * 60 + int(offset_minute)) * 60 * SECOND_US
        instant += -offset if sign == "+" else offset
    if not _FIRST_US <= instant < _END_US:
        raise ValueError(f"{text!r} lies outside of the years 1 to 9999")
    return instant


@lru_cache(maxsize=_MINUTES_MAX)
def _format_minute(minute: int) -> str:
    return (_EPOCH + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:").zfill(17)


def format_instant(instant_us: int) -> str:
    """Return an instant as RFC 3339 in UTC with microseconds (R7.1)."""
    minute, micros = divmod(instant_us, _MINUTE_US)
    return f"{_format_minute(minute)}{micros // SECOND_US:02d}.{micros % SECOND_US:06d}Z"


@lru_cache(maxsize=4096)
def day_of(day_number: int) -> date:
    """Return the day that lies `day_number` days after 1970-01-01."""
    return date.fromordinal(_EPOCH_ORDINAL + day_number)

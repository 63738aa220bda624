"""What a period will come to if it goes on as it began: by whole days, in integers."""

from pipeline.domain.instants import DAY_US
from pipeline.domain.periods import Period

DAYS_MIN = 3
"""Earlier there is too little to go by."""


def forecast(so_far: int, period: Period, now_us: int) -> int | None:
    """Return the total at the period's end, with what was used per day so far; None too early, or once it is over."""
    days = (now_us - period.start_us) // DAY_US
    whole = (period.end_us - period.start_us) // DAY_US
    if not DAYS_MIN <= days < whole:
        return None
    return so_far * whole // days

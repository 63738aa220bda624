"""The customer's watermark, and what is forgotten as it grows (R3.2)."""

from pipeline.domain.dedupe import forget_identities
from pipeline.domain.digests import DIGEST_SIZE, DigestTable
from pipeline.domain.instants import DAY_US, MILLISECOND_US
from pipeline.domain.state import PERIOD, CustomerState


def advance(state: CustomerState, watermark_ms: int) -> bool:
    """Move the watermark; when it enters another UTC day, forget what no event can need any more, and return True."""
    before_ms = state.watermark_ms
    state.watermark_ms = watermark_ms
    if before_ms < 0 or watermark_ms * 1000 // DAY_US == before_ms * 1000 // DAY_US:
        return False
    forget_identities(state)
    for name, account in state.accounts.items():
        if account.retires_us <= watermark_ms * 1000:
            state.changed += [(name, window) for window in account.windows if window[0] != PERIOD]
            account.windows = {key: each for key, each in account.windows.items() if key[0] == PERIOD}
            account.operations = DigestTable(DIGEST_SIZE)
    state.forget_tariffs()
    return True


def late_posting_us(state: CustomerState, app: str, timestamp_ms: int, watermark_ms: int) -> int:
    """Return when a late event is posted: at its record's timestamp, and never into a closed period (R3.2, R10.2)."""
    posted_us = timestamp_ms * MILLISECOND_US
    return posted_us if posted_us >= state.closed_us.get(app, posted_us) else watermark_ms * MILLISECOND_US

"""Alerts when a share of a pool or budget is reached (R6.10)."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.domain.state import WindowKey


@dataclass(frozen=True, slots=True)
class Alert:
    """The line `seq` made a pool or budget `id` first reach `threshold` percent in one of its windows."""

    customer: str
    period: str
    id: str
    scope_value: str
    threshold: int
    seq: int


class Growth:
    """What one line made grow: the windows that it was counted in, and the alerts, in the order of pools and budgets."""

    def __init__(self, customer: str, period: str, seq: int) -> None:
        self._customer = customer
        self._period = period
        self._seq = seq
        self.windows: set[WindowKey] = set()
        self.alerts: list[Alert] = []

    def note(
        self,
        window: WindowKey,
        identity: str,
        scope_value: str,
        thresholds: Iterable[int],
        limit: int,
        before: int,
        after: int,
    ) -> None:
        """Note that use of a limit grew, with an alert for each threshold (percent, rising) that it reaches by that.

        Use only grows within a window, so each is reached once. A limit of 0 has no share, and so no alert.
        """
        self.windows.add(window)
        if limit <= 0 or after <= before:
            return
        for threshold in thresholds:
            if before * 100 < threshold * limit <= after * 100:
                self.alerts.append(Alert(self._customer, self._period, identity, scope_value, threshold, self._seq))

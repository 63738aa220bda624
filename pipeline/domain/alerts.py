"""Alerts when a share of a pool or budget is reached (R6.10)."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alert:
    """The line `seq` made a pool or budget `id` first reach `threshold` percent in one of its windows."""

    customer: str
    period: str
    id: str
    scope_value: str
    threshold: int
    seq: int


class AlertLog:
    """The alerts of one line, in the order in which its pools and budgets grew."""

    def __init__(self, customer: str, period: str, seq: int) -> None:
        self._customer = customer
        self._period = period
        self._seq = seq
        self.alerts: list[Alert] = []

    def grown(
        self, identity: str, scope_value: str, thresholds: Iterable[int], limit: int, before: int, after: int
    ) -> None:
        """Add an alert for each threshold (percent, rising) of a limit that `after` reaches and `before` did not.

        Use only grows within a window, so each is reached once. A limit of 0 has no share, and so no alert.
        """
        if limit <= 0 or after <= before:
            return
        for threshold in thresholds:
            if before * 100 < threshold * limit <= after * 100:
                self.alerts.append(Alert(self._customer, self._period, identity, scope_value, threshold, self._seq))

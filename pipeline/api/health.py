"""What the API says when it is asked: its gauges, and whether it can serve."""

from fastapi import FastAPI

from pipeline.observe.counters import Counters


class ApiHealth:
    """Asks an application."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def faults(self) -> list[str]:
        """Return what keeps requests from being served: Kafka does not answer, keys or quota records are not read."""
        state = self._app.state
        faults = []
        if not await state.delivery.is_reachable():
            faults.append("Kafka does not answer")
        if not state.ring.is_read:
            faults.append(state.keys.fault)
        if not state.board.is_ready:
            faults.append(state.quota.fault)
        return faults

    async def refresh(self) -> None:
        """Bring the gauges up to date."""
        state = self._app.state
        counters: Counters = state.counters
        age_ms = state.board.age_ms()
        counters.level("quota_age_seconds", None if age_ms is None else age_ms / 1000)
        counters.level("quota_streams", state.streams.open)
        counters.level("api_in_flight_bytes", state.in_flight.held_bytes)

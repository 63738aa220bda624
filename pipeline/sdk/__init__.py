"""For deployments and gateways: emit usage events, ask for quota. Imports neither Faust nor ClickHouse."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.sdk.client import UsageClient
from pipeline.sdk.delivery import Limits
from pipeline.sdk.events import InvalidEvent
from pipeline.sdk.meter import Meter, meter
from pipeline.sdk.reservation import Reservation
from pipeline.sdk.stats import Stats

if TYPE_CHECKING:
    from pipeline.sdk.gate import QuotaGate

__all__ = ["InvalidEvent", "Limits", "Meter", "QuotaGate", "Reservation", "Stats", "UsageClient", "meter"]


def __getattr__(name: str) -> Any:
    """Load the gate when it is asked for: who only emits does not pay for the rules."""
    if name == "QuotaGate":
        return import_module("pipeline.sdk.gate").QuotaGate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

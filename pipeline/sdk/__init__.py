"""For deployments and gateways: emit usage events, ask for quota. Imports neither Faust nor ClickHouse."""

from pipeline.sdk.client import UsageClient
from pipeline.sdk.delivery import Limits
from pipeline.sdk.events import InvalidEvent
from pipeline.sdk.meter import Meter, meter
from pipeline.sdk.reservation import Reservation
from pipeline.sdk.stats import Stats

__all__ = ["InvalidEvent", "Limits", "Meter", "Reservation", "Stats", "UsageClient", "meter"]

"""A record as Kafka hands it over, and the topics."""

from typing import NamedTuple

EVENTS_TOPIC = "usage.events"
GRANTS_TOPIC = "billing.grants"
LINES_TOPIC = "usage.lines"
DEAD_LETTER_TOPIC = "usage.dead-letter"
ALERTS_TOPIC = "usage.alerts"
QUOTA_TOPIC = "usage.quota"
STATES_TOPIC = "usage.states"
CATALOG_TOPIC = "billing.catalog"
CLOSINGS_TOPIC = "billing.closings"
PAYOUTS_TOPIC = "billing.payouts"
KEYS_TOPIC = "access.keys"


class Record(NamedTuple):
    """One Kafka record of the topics `usage.events` or `billing.grants` (R2.1, R2.5)."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

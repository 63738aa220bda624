"""A notice: an alert as it is delivered, with an id that never changes and its sentence."""

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from pipeline.codec.lines import alert_fields
from pipeline.domain.alerts import Alert
from pipeline.domain.catalog import Catalog
from pipeline.domain.instants import format_instant
from pipeline.notify.sentences import builders_of, sentence_of

ALERT_BYTES_MAX = 1 << 16
EVENT_TYPE = "usage.alert"
TARGET_HEADER = "target"
"""Names the only target that a record is for: one that is sent again (docs/alerts.md)."""
_decode_alert = msgspec.json.Decoder(Alert).decode


@dataclass(frozen=True, slots=True)
class Notice:
    """An alert of `usage.alerts` that is to be delivered."""

    id: str
    """The same for every delivery of the alert: receivers dedupe by it."""
    alert: Alert
    reached_ms: int
    """The record's timestamp: when the worker wrote the alert."""
    sentence: str
    customer_name: str
    apps: frozenset[str]
    """The app that the pool or budget belongs to; several when the catalog leaves that open, none without a catalog."""
    builders: frozenset[str]
    """Their builders."""
    target: str | None = None
    """The only target that it is for; None for all."""

    def as_dict(self) -> dict[str, Any]:
        """Return the notice as targets show it."""
        return {
            "alert_id": self.id,
            **alert_fields(self.alert),
            "customer_name": self.customer_name,
            "app": next(iter(self.apps)) if len(self.apps) == 1 else None,
            "reached_at": format_instant(self.reached_ms * 1000),
            "sentence": self.sentence,
        }

    def as_json(self) -> str:
        """Return the notice as one line of JSON."""
        return json.dumps(self.as_dict(), ensure_ascii=False, separators=(",", ":"))


def notice_of(record: ConsumerRecord, catalog: Catalog | None) -> Notice:
    """Return the notice of a record of `usage.alerts`. Raises ValueError when it holds no alert."""
    alert = parse_alert(record.value)
    builders = builders_of(alert, catalog)
    target = next((value for name, value in record.headers if name == TARGET_HEADER), None)
    return Notice(
        id=notice_id(alert),
        alert=alert,
        reached_ms=record.timestamp,
        sentence=sentence_of(alert, catalog),
        customer_name=catalog.customers.get(alert.customer, alert.customer) if catalog else alert.customer,
        apps=frozenset(builders),
        builders=frozenset(builders.values()),
        target=None if target is None else target.decode(errors="replace"),
    )


def parse_alert(value: bytes | None) -> Alert:
    """Return the alert in a record's value. Raises ValueError when there is none."""
    if value is None or len(value) > ALERT_BYTES_MAX:
        raise ValueError(f"a record of {len(value or b'')} bytes is no alert")
    try:
        alert = _decode_alert(value)
        date.fromisoformat(alert.period)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"this is no alert: {error}") from None
    return alert


def notice_id(alert: Alert) -> str:
    """Return the id of an alert, made of what makes it one: no clock, no chance, no position in Kafka."""
    parts = [alert.customer, alert.seq, alert.id, alert.scope_value, alert.threshold]
    return f"alert_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}"

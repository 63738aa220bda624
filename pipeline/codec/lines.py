"""Lines and alerts to JSON (R7.1, R6.10)."""

from typing import Any

import msgspec

from pipeline.domain.alerts import Alert
from pipeline.domain.instants import format_instant
from pipeline.domain.lines import Line

_encode = msgspec.json.Encoder().encode


def line_fields(line: Line) -> dict[str, Any]:
    """Return a line's fields under the names of R7.1. Amounts are integers that may exceed 64 bits."""
    event = line.event
    return {
        "customer": line.customer,
        "seq": line.seq,
        "event_id": event.id,
        "source": event.source,
        "time": format_instant(event.time_us),
        "posted_at": format_instant(line.posted_us),
        "period": line.period,
        "late": line.late,
        "builder": line.builder,
        "app": line.app,
        "plan": line.plan,
        "plan_version": line.plan_version,
        "deployment": event.source,
        "environment": event.environment,
        "workspace": event.workspace,
        "feature": event.feature,
        "model": event.model,
        "class": line.model_class,
        "request_type": event.request_type,
        "unit": event.unit,
        "kind": line.kind,
        "quantity": event.quantity,
        "included": line.included,
        "granted": line.granted,
        "overage": line.overage,
        "blocked": line.blocked,
        "input_tokens": event.input_tokens,
        "cached_input_tokens": event.cached_input_tokens,
        "output_tokens": event.output_tokens,
        "cost_pico": line.cost_pico,
        "cost_charged_pico": line.cost_charged_pico,
        "margin_pico": line.margin_pico,
        "surcharge_pico": line.surcharge_pico,
        "charge_pico": line.charge_pico,
        "pools": [{"id": use.id, "scope_value": use.scope_value, "units": use.units} for use in line.pools],
        "provider_reward_pico": line.provider_reward_pico,
        "builder_earnings_pico": line.builder_earnings_pico,
    }


def encode_line(line: Line, version: int) -> bytes:
    """Return a line as one JSON object, with the `version` that says which rating of it is the latest (DESIGN 4.7)."""
    fields = line_fields(line)
    fields["version"] = version
    return _encode(fields)


def alert_fields(alert: Alert) -> dict[str, Any]:
    """Return an alert's fields."""
    return {
        "customer": alert.customer,
        "period": alert.period,
        "id": alert.id,
        "scope_value": alert.scope_value,
        "threshold": alert.threshold,
        "seq": alert.seq,
    }


def encode_alert(alert: Alert) -> bytes:
    """Return an alert as one JSON object."""
    return _encode(alert_fields(alert))

"""Random usage events for tests: what a deployment sends, also the same fact written otherwise."""

import json
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

from tests.model.case_catalog import CUSTOMERS, ENVIRONMENTS, FEATURES, MODELS, UNITS, WORKSPACES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUANTITIES = [0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 7, 10, 75]
COSTS = ["0", "0.000000000001", "0.000000000003", "0.0123", "0.10", "1.5", "0.333333333333", "007.50"]
OPERATIONS = [f"op-{number}" for number in range(6)]


def moment(ts: int) -> datetime:
    """Return a record timestamp as a time."""
    return EPOCH + timedelta(milliseconds=ts)


def milliseconds(when: datetime) -> int:
    """Return a time as a record timestamp, digits beyond the millisecond cut."""
    return (when - EPOCH) // timedelta(milliseconds=1)


def write_time(rng: Random, when: datetime) -> str:
    """Write a time in one of the many ways RFC 3339 allows; all of them mean `when`."""
    zone = rng.choice([None, None, None, "+05:30", "-08:00", "+00:00", "-00:00", "+13:45", "-23:59"])
    local, suffix = when, rng.choice(["Z", "Z", "Z", "z"])
    if zone:
        sign = -1 if zone[0] == "-" else 1
        local = when.astimezone(timezone(sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))))
        suffix = zone
    text = f"{local:%Y-%m-%d}{rng.choice('TTTTt')}{local:%H:%M:%S}"
    micros = f"{local.microsecond:06}"
    form = rng.choice(["short", "short", "full", "beyond"])
    if form == "beyond":
        micros += rng.choice(["9", "000", "999999999", "5" * 60])  # cut on reading
    elif form == "short":
        micros = micros.rstrip("0")
    return text + (f".{micros}" if micros else "") + suffix


def make_event(rng: Random, number: int, deployment: dict[str, Any], when: datetime) -> dict[str, Any]:
    """Return a good event of a deployment."""
    data: dict[str, Any] = {
        "environment": rng.choice([*ENVIRONMENTS, "production", "production"]),
        "workspace": rng.choice(WORKSPACES),
        "feature": rng.choice(FEATURES),
        "model": rng.choice(MODELS),
        "unit": rng.choice(UNITS),
    }
    if rng.random() < 0.9:
        data["quantity"] = rng.choice(QUANTITIES)
    for name in ("input_tokens", "cached_input_tokens", "output_tokens"):
        if rng.random() < 0.8:
            data[name] = rng.choice([0, 1, rng.randint(0, 3000), rng.randint(0, 3_000_000)])
    if rng.random() < 0.02:
        data.update(quantity=10**12, input_tokens=10**12, output_tokens=10**12)
    rare = [("route", "byok", 0.06), ("status", "failed", 0.08), ("request_type", "chat", 0.1)]
    rare += [
        ("cost", rng.choice(COSTS), 0.35),
        ("cost", "999999999999.999999999999", 0.01),
        ("model", "no-such-model", 0.06),
    ]
    rare += [("operation", rng.choice(OPERATIONS), 0.35), ("workspace", "w" * 127 + "ß", 0.03)]
    data |= {name: value for name, value, share in rare if rng.random() < share}
    return {
        "specversion": "1.0",
        "type": "ai.usage.v1",
        "id": f"e{number}",
        "source": deployment["id"],
        "subject": deployment["customer"],
        "time": write_time(rng, when),
        "data": data,
    }


def write_event(rng: Random, event: dict[str, Any]) -> str:
    """Write an event as JSON, with harmless oddities now and then."""
    event = {**event, "data": dict(event["data"])}
    data = event["data"]
    if rng.random() < 0.15:
        data["extra"] = {"deep": [[1, {"a": None}], 1.5, "NaN"], "quantity": -5}
        event["datacontenttype"] = "application/json"
    for name in ("cost", "route", "status", "operation", "request_type", "quantity", "input_tokens"):
        if name not in data and rng.random() < 0.05:
            data[name] = None
    if rng.random() < 0.2:
        event["data"] = dict(sorted(data.items(), reverse=True))
        event = dict(sorted(event.items()))
    text = json.dumps(event, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, None, None, 1]))
    if data.get("quantity") == 0 and rng.random() < 0.1:
        text = text.replace('"quantity": 0', '"quantity": -0')
    return text


def same_fact(rng: Random, event: dict[str, Any], when: datetime) -> dict[str, Any]:
    """Return an event with the same content, written otherwise: a duplicate by R6.1."""
    data = dict(event["data"])
    if rng.random() < 0.5:
        for name, value in [("quantity", 1), ("input_tokens", 0), ("route", "routed"), ("status", "succeeded")]:
            data.setdefault(name, value)
    if "." in data.get("cost", "") and len(data["cost"]) < 10:
        data["cost"] += "0"
    return {**event, "time": write_time(rng, when), "data": data}


def other_fact(rng: Random, event: dict[str, Any], when: datetime) -> dict[str, Any]:
    """Return an event of the same identity with other content: a conflict by R6.1."""
    data = dict(event["data"])
    form = rng.choice(["quantity", "time", "cost", "request_type", "workspace", "operation", "tokens"])
    if form == "time":
        return {**event, "time": write_time(rng, when - timedelta(microseconds=1))}
    if form == "quantity":
        data["quantity"] = data.get("quantity", 1) % 10**12 + 1
    elif form == "cost":
        data["cost"] = "0.777"
    elif form == "tokens":
        data["cached_input_tokens"] = data.get("cached_input_tokens", 0) + 1
    else:
        data[form] = "changed"
    return {**event, "data": data}


def deployments_of(catalog: dict[str, Any], customer: str) -> list[dict[str, Any]]:
    """Return a customer's deployments."""
    assert customer in CUSTOMERS
    return [row for row in catalog["deployments"] if row["customer"] == customer]

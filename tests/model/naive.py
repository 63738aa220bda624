"""Rate a journal in the most obvious way there is: the independent oracle of the tests.

Written from SPEC.md alone. Nothing is kept but history: what a pool, wallet, counter or budget holds is found again for
each event by scanning what happened before. Slow and plain on purpose; never used outside tests.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.model.naive_catalog import Catalog
from tests.model.naive_input import EVENT_FIELDS, Rejected, events_of, read_event, read_grant
from tests.model.naive_rating import rate_money
from tests.model.naive_statements import statements
from tests.model.naive_time import EPOCH, days, minutes, period_of, rfc3339


@dataclass
class Result:
    """What `usage rate` writes: plain dicts as in conformance/*/expected."""

    lines: list[dict] = field(default_factory=list)
    rejects: list[dict] = field(default_factory=list)
    alerts: list[dict] = field(default_factory=list)
    statements: list[dict] = field(default_factory=list)
    facts: list[dict] = field(default_factory=list)  # how each line came about, for the coverage check
    notes: Counter[str] = field(default_factory=Counter)  # what left no line, for the coverage check


@dataclass
class Customer:
    """Everything that ever happened to one customer, in order."""

    stamps: list[datetime] = field(default_factory=list)  # record times that count for the watermark (R3.2)
    accepted: list[dict] = field(default_factory=list)  # {"event", "at"}: accepted events and their record times
    facts: list[dict] = field(default_factory=list)  # what each line took and charged, see naive_rating
    gifts: list[dict] = field(default_factory=list)  # topups and grants
    fired: list[tuple] = field(default_factory=list)  # (pool or budget, threshold) that alerted


def rate(records: list[dict], catalog: dict) -> Result:
    """Rate the records in order (R3.3)."""
    result = Result()
    plain = Catalog(catalog)
    customers: dict[str, Customer] = {}
    for record in records:
        if record["topic"] == "billing.grants":
            one_grant(record, plain, customers, result)
        else:
            one_record(record, plain, customers, result)
    result.statements = statements(result.lines)
    return result


def one_grant(record: dict, catalog: Catalog, customers: dict[str, Customer], result: Result) -> None:
    """Apply one record of billing.grants (R2.5)."""
    try:
        gift = read_grant(record)
        check_grant(gift, record, catalog)
    except Rejected as why:
        result.rejects.append({"offset": record["offset"], "index": None, "code": why.code})
        return
    customer = customers.setdefault(gift["customer"], Customer())
    if any(earlier["id"] == gift["id"] for earlier in customer.gifts):
        result.notes["repeated grant id"] += 1
        return  # R2.5: a repeated id is ignored
    if gift["type"] == "grant" and gift["effective_at"] is None:
        gift["effective_at"] = record_time(record)
    customer.gifts.append(gift)
    customer.stamps.append(record_time(record))


def check_grant(gift: dict, record: dict, catalog: Catalog) -> None:
    """Raise Rejected when a grant's customer is not the record's, or nobody."""
    if gift["customer"] != record.get("key"):
        raise Rejected("wrong_key")
    if gift["customer"] not in catalog.customers:
        raise Rejected("unknown_customer")


def one_record(record: dict, catalog: Catalog, customers: dict[str, Customer], result: Result) -> None:
    """Rate the events of one record of usage.events (R2.1)."""
    try:
        events = events_of(record)
    except Rejected as why:
        result.rejects.append({"offset": record["offset"], "index": None, "code": why.code})
        return
    for index, value in enumerate(events):
        try:
            one_event(value, record, catalog, customers, result)
        except Rejected as why:
            result.rejects.append({"offset": record["offset"], "index": index, "code": why.code})


def one_event(value: object, record: dict, catalog: Catalog, customers: dict[str, Customer], result: Result) -> None:
    """Accept and rate one event, or raise Rejected with the first code that holds (R2.3)."""
    event = read_event(value)
    at = record_time(record)
    deployment = check_names(event, record, at, catalog)
    customer = customers.get(event["subject"], Customer())
    watermark = max([*customer.stamps, at])

    for earlier in customer.accepted:
        if same_identity(earlier["event"], event) and earlier["at"] + days(35) >= watermark:
            if content(earlier["event"]) != content(event):
                raise Rejected("id_conflict")
            customer.stamps.append(at)
            exactly = earlier["at"] + days(35) == watermark
            result.notes["duplicate after exactly 35 days" if exactly else "duplicate"] += 1
            return

    subscription = catalog.subscription(event["subject"], deployment["app"], event["time"])
    plan_then = catalog.plan(subscription)
    _, end = period_of(event["time"], plan_then["anchor_day"])
    late = end + timedelta(hours=plan_then["grace_hours"]) <= watermark
    posted_at = at if late else event["time"]
    subscription = catalog.subscription(event["subject"], deployment["app"], posted_at)
    plan = catalog.plan(subscription)
    period, _ = period_of(posted_at, plan["anchor_day"])

    if any(same_identity(earlier["event"], event) for earlier in customer.accepted):
        result.notes["accepted again after 35 days"] += 1
    if end + timedelta(hours=plan_then["grace_hours"]) == watermark:
        result.notes["late by the exact end of grace"] += 1
    fact, alerts = rate_money(event, posted_at, period, plan, catalog, customer)
    customers[event["subject"]] = customer
    customer.stamps.append(at)
    customer.accepted.append({"event": event, "at": watermark})
    customer.facts.append(fact)
    line = line_of(event, fact, catalog, deployment, seq=len(customer.facts), late=late)
    result.lines.append(line)
    result.facts.append({**fact, "late": late, "alerts": alerts})
    for name, scope_value, threshold in alerts:
        alert = {"customer": event["subject"], "period": line["period"], "id": name, "scope_value": scope_value}
        result.alerts.append({**alert, "threshold": threshold, "seq": line["seq"]})


def check_names(event: dict, record: dict, at: datetime, catalog: Catalog) -> dict:
    """Return the event's deployment, or raise Rejected (R2.3, R2.4, R4.4)."""
    if event["subject"] != record.get("key"):
        raise Rejected("wrong_key")
    if event["time"] > at + minutes(5):
        raise Rejected("time_in_future")
    if event["subject"] not in catalog.customers:
        raise Rejected("unknown_customer")
    if event["source"] not in catalog.deployments:
        raise Rejected("unknown_deployment")
    deployment = catalog.deployments[event["source"]]
    if deployment["customer"] != event["subject"]:
        raise Rejected("wrong_customer")
    imported = (record.get("headers") or {}).get("x-usage-import") == "offline"
    if deployment.get("connectivity") == "air_gapped" and not imported:
        raise Rejected("air_gapped")
    return deployment


def same_identity(one: dict, other: dict) -> bool:
    """Tell whether two events of one customer carry one identity (R6.1)."""
    return (one["source"], one["id"]) == (other["source"], other["id"])


def content(event: dict) -> list:
    """Return what two events of one identity must share: the time and all fields of data (R6.1)."""
    return [event["time"], *(event[name] for name in EVENT_FIELDS)]


def record_time(record: dict) -> datetime:
    """Return the record's timestamp."""
    return EPOCH + timedelta(milliseconds=record["ts"])


def line_of(event: dict, fact: dict, catalog: Catalog, deployment: dict, *, seq: int, late: bool) -> dict:
    """Write the line of R7.1."""
    plan = fact["plan"]
    copied = ["environment", "workspace", "feature", "model", "request_type", "unit", "quantity"]
    copied += ["input_tokens", "cached_input_tokens", "output_tokens"]
    rated = ["kind", "class", "included", "granted", "overage", "blocked", "pools"]
    rated += ["cost_pico", "cost_charged_pico", "margin_pico", "surcharge_pico", "charge_pico"]
    return {
        "customer": event["subject"],
        "seq": seq,
        "event_id": event["id"],
        "source": event["source"],
        "time": rfc3339(event["time"]),
        "posted_at": rfc3339(fact["posted_at"]),
        "period": fact["period"].date().isoformat(),
        "late": late,
        "builder": catalog.apps[deployment["app"]]["builder"],
        "app": deployment["app"],
        "plan": plan["id"],
        "plan_version": plan["version"],
        "deployment": event["source"],
        **{name: event[name] for name in copied},
        **{name: fact[name] for name in rated},
        "provider_reward_pico": fact["cost_charged_pico"],
        "builder_earnings_pico": fact["charge_pico"] - fact["cost_charged_pico"],
    }

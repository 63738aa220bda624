"""Usage for the demo: seeded, with heavy-tailed customers, bursts, retries, late events and premium models.

Made up, or a real trace's times and token counts with customers and features assigned on top.
"""

import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from pipeline.domain.catalog import Catalog, Deployment
from pipeline.domain.instants import DAY_US, HOUR_US, SECOND_US, format_instant, parse_instant
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record

EVENTS_MADE = 20_000
_BATCH_MAX = 250
_FLUSH_US = 30 * 60 * SECOND_US
_FEATURES = {
    "docflow": (("contract-extraction", "document"), ("document-summary", "page")),
    "helpdesk": (("ticket-summary", "ticket"), ("kb-answer", "answer")),
    "insights": (("monthly-report", "report"),),
}
_OTHER_FEATURES = (("assist", "call"),)
_WORKSPACES = ("legal", "finance", "support", "operations")
_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a model: when, and how many tokens in and out."""

    at_us: int
    input_tokens: int
    output_tokens: int


class DemoError(ValueError):
    """No usage can be made; the message says why."""


def read_trace(path: Path) -> list[Call]:
    """Return the calls of a CSV with TIMESTAMP, ContextTokens and GeneratedTokens, by time. Raises DemoError."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise DemoError(f"{path}: no column {', '.join(missing)}; a trace has {', '.join(_COLUMNS)}")
        calls = [_call(path, rows.line_num, row) for row in rows]
    if not calls:
        raise DemoError(f"{path}: holds no calls")
    return sorted(calls, key=lambda call: call.at_us)


def _call(path: Path, line: int, row: dict[str, str]) -> Call:
    try:
        at_us = parse_instant(row["TIMESTAMP"].replace(" ", "T") + "Z")
        return Call(at_us, int(row["ContextTokens"]), int(row["GeneratedTokens"]))
    except (ValueError, AttributeError, TypeError) as error:
        raise DemoError(f"{path}, line {line}: {error}") from None


def make_calls(seed: int, month: datetime, count: int = EVENTS_MADE) -> list[Call]:
    """Return made-up calls over a calendar month, in bursts during working hours, with log-normal token counts."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    start_us = int(month.timestamp()) * SECOND_US
    days = (_next_month(month) - month).days
    calls: list[Call] = []
    while len(calls) < count:
        day = chance.randrange(days)
        burst_us = start_us + day * DAY_US + int(chance.triangular(6, 20, 11) * HOUR_US)
        for _ in range(min(int(chance.paretovariate(1.1)), 400)):
            burst_us += int(chance.expovariate(1 / 2) * SECOND_US)
            input_tokens = int(chance.lognormvariate(7.5, 1.1))
            calls.append(Call(burst_us, input_tokens, int(chance.lognormvariate(5.5, 0.9))))
    return sorted(calls[:count], key=lambda call: call.at_us)


def last_month(today: datetime) -> datetime:
    """Return the first instant of the calendar month before `today`."""
    return (today.replace(day=1) - timedelta(days=1)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(month: datetime) -> datetime:
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)


def usage_of(catalog: Catalog, calls: list[Call], seed: int) -> list[Record]:
    """Return records of usage events and grants, by timestamp: what deployments of the catalog would have sent.

    Raises DemoError when the catalog has none.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    deployments = [each for each in catalog.deployments.values() if not each.air_gapped]
    if not deployments:
        raise DemoError("the catalog has no deployment that is connected: nobody to send usage")
    weights = [1 / (rank + 1) for rank in range(len(deployments))]
    events: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for number, call in enumerate(calls):
        deployment = chance.choices(deployments, weights)[0]
        for sent_us, event in _sent(catalog, chance, deployment, number, call):
            events[deployment.id].append((sent_us, event))
    records = [*_grants(catalog, calls[0].at_us)]
    for identity, sent in events.items():
        records.extend(_batches(catalog.deployments[identity].customer, sorted(sent, key=lambda each: each[0])))
    return sorted(records, key=lambda record: record.timestamp_ms)


def _sent(
    catalog: Catalog, chance: random.Random, deployment: Deployment, number: int, call: Call
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield when an event is sent, and the event: once, or again when the sender has seen no acknowledgement."""
    sent_us = call.at_us + chance.randrange(SECOND_US)
    if chance.random() < 0.01:
        sent_us += int(chance.uniform(1, 5) * DAY_US)  # the deployment was offline: late when its period has closed
    event = _event(catalog, chance, deployment, number, call)
    yield sent_us, event
    if chance.random() < 0.03:
        yield sent_us + chance.randrange(60 * SECOND_US), event


def _event(catalog: Catalog, chance: random.Random, deployment: Deployment, number: int, call: Call) -> dict[str, Any]:
    feature, unit = chance.choices(_FEATURES.get(deployment.app, _OTHER_FEATURES))[0]
    premium = [model.id for model in catalog.models.values() if model.model_class != "standard"]
    standard = [model.id for model in catalog.models.values() if model.model_class == "standard"]
    model = chance.choice(premium if premium and chance.random() < 0.15 else standard or premium)
    data: dict[str, Any] = {
        "environment": "staging" if "staging" in deployment.id else "production",
        "workspace": chance.choices(_WORKSPACES, (4, 2, 3, 1))[0],
        "feature": feature,
        "model": model,
        "unit": unit,
        "quantity": 0 if chance.random() < 0.05 else min(int(chance.paretovariate(1.5)), 50),
        "input_tokens": call.input_tokens,
        "cached_input_tokens": call.input_tokens // 2 if chance.random() < 0.2 else 0,
        "output_tokens": call.output_tokens,
    }
    if chance.random() < 0.03:
        data["status"] = "failed"
    if chance.random() < 0.1:
        data["operation"] = f"job-{number // 20}"
    return {
        "specversion": "1.0",
        "type": "ai.usage.v1",
        "id": f"demo-{number}",
        "source": deployment.id,
        "subject": deployment.customer,
        "time": format_instant(call.at_us),
        "data": data,
    }


def _batches(customer: str, sent: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[Record]:
    """Yield a deployment's events as records, gathered as a sender would: by number and by age."""
    batch: list[dict[str, Any]] = []
    first_us = last_us = 0
    for sent_us, event in sent:
        if batch and (len(batch) == _BATCH_MAX or sent_us - first_us > _FLUSH_US):
            yield _record(customer, last_us, batch)
            batch = []
        if not batch:
            first_us = sent_us
        batch.append(event)
        last_us = sent_us
    if batch:
        yield _record(customer, last_us, batch)


def _record(customer: str, sent_us: int, batch: list[dict[str, Any]]) -> Record:
    headers = (("content-type", b"application/cloudevents-batch+json"),)
    return Record(EVENTS_TOPIC, 0, 0, sent_us // 1000 + 1, customer.encode(), _encode(batch), headers)


def _grants(catalog: Catalog, start_us: int) -> Iterator[Record]:
    """Yield a top-up for each customer whose plan is prepaid, and a grant of documents for the first customer."""
    start_ms = start_us // 1000
    for number, (customer, app) in enumerate(sorted(catalog.subscriptions)):
        plan = catalog.plan_at(customer, app, start_us)
        if plan is not None and "prepaid" in plan.overage.values():
            topup = {"type": "topup", "id": f"topup-{app}", "customer": customer, "amount": "120.00"}
            yield Record(GRANTS_TOPIC, 0, 0, start_ms - 1000 + number, customer.encode(), _encode(topup))
    customer = next(iter(catalog.customers))
    grant = {"type": "grant", "id": "welcome", "customer": customer, "quantity": 100, "match": {"unit": ["document"]}}
    yield Record(GRANTS_TOPIC, 0, 0, start_ms, customer.encode(), _encode(grant))


def month_of_demo() -> datetime:
    """Return the calendar month that made-up usage falls into: the last full one."""
    return last_month(datetime.now(UTC))

"""The input of all peers: usage events (R2.2) of 330 to 420 bytes, what they must cost, and our catalog for them.

Customers are drawn from 2,000 by Zipf's law; 3 % of the events are sent twice; record times run from the middle of one
month into the next. Terms: an allowance of units a customer and month, then a price a unit, in one currency.
"""

import random
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from bench.peers.programs.terms import Usage, rate

CUSTOMERS = 2_000
DUPLICATES = 0.03
DUPLICATE_AFTER_MAX = 1_000
"""A copy comes at most so many events after its original."""
FIRST = datetime(2026, 1, 15, tzinfo=UTC)
DAYS = 26
_FEATURES = ("contract-extraction", "ticket-summary", "invoice-matching", "search-answers")
_MODELS = ("gpt-5-mini", "gpt-5", "claude-haiku-4-5", "llama-3.3-70b")
_WORKSPACES = ("legal", "finance", "support", "operations")


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka record of the input."""

    key: bytes
    value: bytes
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What every peer must give for an input."""

    events: int
    rated: int
    charge_pico: int


class PlainRating:
    """Rates with everything in memory: what the peers are held against."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._usage: dict[str, Usage] = {}
        self._events = 0
        self._charge_pico = 0

    def rate(self, batch: list[dict[str, Any]]) -> None:
        """Rate the events of a message."""
        for event in batch:
            self._events += 1
            if event["id"] not in self._seen:
                self._seen.add(event["id"])
                customer = event["subject"]
                self._usage[customer], rated = rate(self._usage.get(customer), event)
                self._charge_pico += rated["charge_pico"]

    def expected(self) -> Expected:
        """Return what came out so far."""
        return Expected(self._events, len(self._seen), self._charge_pico)


def make_messages(events: int, per_message: int) -> tuple[list[Message], Expected]:
    """Return the input as messages of `per_message` events, and what is to come out of it.

    All events of a message are one customer's, who is drawn for each message. A message of one event is an object, one of
    several is an array (R2.1).
    """
    chance = random.Random(events * 1_009 + per_message)
    step = timedelta(days=DAYS) / events
    recent: deque[tuple[int, list[dict[str, Any]]]] = deque(maxlen=max(1, DUPLICATE_AFTER_MAX // per_message))
    messages: list[Message] = []
    plain = PlainRating()
    for number, drawn in enumerate(_draw_customers(chance, events // per_message)):
        at = FIRST + step * number * per_message
        customer, batch = drawn, list[dict[str, Any]]()
        if recent and chance.random() < DUPLICATES:
            customer, batch = chance.choice(recent)
        batch = batch or [_event(chance, number * per_message + index, customer, at) for index in range(per_message)]
        recent.append((customer, batch))
        plain.rate(batch)
        value = orjson.dumps(batch if per_message > 1 else batch[0])
        messages.append(Message(_name(customer).encode(), value, int(at.timestamp() * 1000)))
    return messages, plain.expected()


def _draw_customers(chance: random.Random, number: int) -> list[int]:
    ranks = range(1, CUSTOMERS + 1)
    return chance.choices(ranks, [1 / rank for rank in ranks], k=number)


def _event(chance: random.Random, number: int, customer: int, at: datetime) -> dict[str, Any]:
    time = at - timedelta(milliseconds=chance.randrange(60_000))
    optional = {"route": "routed", "status": "succeeded"} if chance.random() < 0.5 else {}
    return {
        "specversion": "1.0",
        "type": "ai.usage.v1",
        "id": f"01JC{chance.getrandbits(64):016x}{number:08d}",
        "source": f"dep-{customer:04d}",
        "subject": _name(customer),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z",
        "data": {
            "environment": "production",
            "workspace": chance.choice(_WORKSPACES),
            "feature": chance.choice(_FEATURES),
            "model": chance.choice(_MODELS),
            "unit": "document",
            "quantity": chance.randrange(1, 6),
            "input_tokens": chance.randrange(100, 20_000),
            "cached_input_tokens": chance.randrange(20_000),
            "output_tokens": chance.randrange(10, 2_000),
            **optional,
        },
    }


def _name(customer: int) -> str:
    return f"customer-{customer:04d}"


def make_catalog(included: int, price: str) -> str:
    """Return our catalog (R4.1) with the same terms for the same customers, as YAML."""
    customers = [f"  - {{id: {_name(each)}, name: Customer {each}}}" for each in range(1, CUSTOMERS + 1)]
    deployments = [
        f"  - {{id: dep-{each:04d}, customer: {_name(each)}, app: docflow}}" for each in range(1, CUSTOMERS + 1)
    ]
    subscriptions = [
        f"  - {{customer: {_name(each)}, plan: business, version: 1, start: 2025-01-01}}"
        for each in range(1, CUSTOMERS + 1)
    ]
    models = [
        f'  - {{id: {each}, provider: some, class: standard, input: "0.25", cached_input: "0.025", output: "2.00"}}'
        for each in _MODELS
    ]
    plan = [
        "  - id: business",
        "    version: 1",
        "    app: docflow",
        "    allowances:",
        f"      - {{id: documents, match: {{unit: [document]}}, included: {included}}}",
        "    prices:",
        f'      - {{match: {{unit: [document]}}, price: "{price}"}}',
    ]
    parts = {"models": models, "customers": customers, "deployments": deployments, "plans": plan}
    heads = [
        "currency: USD",
        "builders: [{id: northwind, name: Northwind}]",
        "apps: [{id: docflow, builder: northwind}]",
    ]
    sections = [
        line for name, lines in (parts | {"subscriptions": subscriptions}).items() for line in [f"{name}:", *lines]
    ]
    return "\n".join([*heads, *sections]) + "\n"

"""The load of all measurements: records of usage events by shape, the same ones for the same arguments."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal
from zlib import crc32

from bench.catalogs import build_catalog, customer_name, deployments_of, write_catalog
from pipeline.domain.catalog import Catalog
from pipeline.domain.instants import HOUR_US, format_instant, parse_instant
from pipeline.domain.records import EVENTS_TOPIC, Record

START_MS = parse_instant("2026-11-01T00:00:00Z") // 1000
BUNDLES = (1, 10, 100, 500, 1000)
_ZIPF = 1.0
_KEPT_EVENTS = 16
"""Of each customer, to be sent again as duplicates."""
_TEMPLATES = 2048


@dataclass(frozen=True, slots=True)
class Shape:
    """What a load is made of. Shares are of all events."""

    about: str
    customers: int = 2000
    pick: Literal["zipf", "uniform", "once"] = "zipf"
    """How customers are drawn for records; `once`: each in turn, one event each."""
    plan: str = "mixed"
    plain: bool = False
    """Only events that are rated as `usage`: none failed, repeated, byok, of staging or of quantity 0."""
    duplicates: float = 0.0
    rejects: float = 0.0
    step_us: int = 20_000
    """By how much each event is later than the one before it."""
    customer_step_us: int = 0
    """The same, within its customer."""

    def catalog(self) -> Catalog:
        """Return the catalog that the shape is rated by."""
        return build_catalog(self.plan, self.customers)

    def write_catalog(self, path: Path) -> Path:
        """Write that catalog as YAML."""
        return write_catalog(path, self.plan, self.customers)


SHAPES = {
    "mixed": Shape("2,000 customers by Zipf, all kinds of events", duplicates=0.005, rejects=0.001),
    "zipf": Shape("2,000 customers by Zipf, no duplicates or rejects"),
    "one": Shape("one customer", customers=1),
    "once": Shape("100,000 customers, one event each", customers=100_000, pick="once"),
    "many": Shape("100,000 customers in random order", customers=100_000, pick="uniform"),
    "wide": Shape("times far apart: 30 s from event to event", step_us=30_000_000),
    "included": Shape("all included", plan="included", plain=True),
    "overage": Shape("all overage, tiers and surcharges", plan="overage", plain=True),
    "crossing": Shape(
        "each event crosses an allowance",
        pick="uniform",
        plan="crossing",
        plain=True,
        step_us=0,
        customer_step_us=HOUR_US,
    ),
    "duplicates": Shape("10% duplicates", duplicates=0.1),
    "rejects": Shape("10% rejects", rejects=0.1),
}


def make_records(shape: Shape, events: int, bundle: int, seed: int = 1, start_ms: int = START_MS) -> Iterator[Record]:
    """Yield records of `bundle` (at most 2,000) events each, of one customer each: offsets from 0, all of partition 0."""
    maker = _Maker(shape, seed, start_ms)
    for offset, customer in enumerate(itertools.islice(maker.customers(), events // bundle)):
        bodies = [maker.event(customer) for _ in range(bundle)]
        value = f"[{','.join(bodies)}]" if bundle > 1 else bodies[0]
        name = customer_name(customer).encode()
        yield Record(EVENTS_TOPIC, 0, offset, maker.now_ms(customer), name, value.encode())


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a customer's records."""
    return crc32(key) % partitions


class _Maker:
    """Makes the events of one load, as JSON, in order."""

    def __init__(self, shape: Shape, seed: int, start_ms: int) -> None:
        self._shape = shape
        self._chance = random.Random(seed)
        self._start_us = start_ms * 1000
        self._number = 0
        self._sent: dict[int, int] = {}
        """How many events each customer has sent."""
        self._kept: dict[int, list[str]] = {}
        self._templates = {app: _templates(random.Random(seed), app, plain=shape.plain) for app in _FEATURES}

    def customers(self) -> Iterator[int]:
        """Yield whose records come, without end."""
        numbers = range(self._shape.customers)
        if self._shape.pick == "once":
            order = list(numbers)
            self._chance.shuffle(order)
            yield from itertools.cycle(order)
        weights = [1 / (rank + 1) ** _ZIPF for rank in numbers] if self._shape.pick == "zipf" else [1] * len(numbers)
        summed = list(itertools.accumulate(weights))
        while True:
            yield from self._chance.choices(numbers, cum_weights=summed, k=10_000)

    def now_ms(self, customer: int) -> int:
        """Return the time of a customer's last event, rounded up: the timestamp of its record."""
        return self._now_us(customer) // 1000 + 1

    def _now_us(self, customer: int) -> int:
        shape = self._shape
        return self._start_us + self._number * shape.step_us + self._sent.get(customer, 0) * shape.customer_step_us

    def event(self, customer: int) -> str:
        """Return the next event of a customer."""
        kept = self._kept.setdefault(customer, []) if self._shape.duplicates else []
        if self._shape.duplicates and kept and self._chance.random() < self._shape.duplicates:
            return kept[self._number % len(kept)]
        self._number += 1
        self._sent[customer] = self._sent.get(customer, 0) + 1
        made = self._new_event(customer)
        if self._shape.rejects and self._chance.random() < self._shape.rejects:
            return _spoiled(made, self._number)
        if self._shape.duplicates:
            place = self._number % _KEPT_EVENTS
            kept[place : place + 1] = [made]
        return made

    def _new_event(self, customer: int) -> str:
        bits = self._chance.getrandbits(64)
        deployments = deployments_of(customer)
        deployment, app = deployments[bits % len(deployments)]
        templates = self._templates[app]
        input_tokens = 200 + (bits >> 16) % 20_000
        return templates[(bits >> 8) % len(templates)].format(
            f"01KA{bits & 0xFFFFFFFFFFFF:012X}{self._number:010X}",
            deployment,
            customer_name(customer),
            _time_text(self._now_us(customer)),
            2 + (bits >> 31) % 3,
            input_tokens,
            input_tokens // 2,
            20 + (bits >> 40) % 2000,
            (bits >> 34) % 1_000_000,
            self._number // 3,
        )


def _time_text(instant_us: int) -> str:
    second, micros = divmod(instant_us, 1_000_000)
    return f"{_second_text(second)}.{micros // 1000:03d}Z"


@lru_cache(maxsize=4096)
def _second_text(second: int) -> str:
    return format_instant(second * 1_000_000)[:19]


def _spoiled(event: str, number: int) -> str:
    """Return an event that is rejected: for a field, for its deployment, or for its model, which has no price."""
    if number % 3 == 0:
        return event.replace('"unit":"', '"unit":7,"was":"', 1)
    if number % 3 == 1:
        return event.replace('"source":"dep_', '"source":"dep_unknown_', 1)
    before, _, rest = event.partition('"model":"')
    _, _, rest = rest.partition('"')
    return f'{before}"model":"unlisted-model"{rest}'.replace('"cost":', '"price":', 1)


_FEATURES = {
    "docflow": (("contract-extraction", "document"), ("document-summary", "document"), ("document-summary", "page")),
    "helpdesk": (("ticket-summary", "ticket"), ("kb-answer", "answer")),
}
_MODELS = ("gpt-5-mini", "gpt-5-mini", "gpt-5", "claude-haiku-4-5", "llama-3.3-70b", "claude-opus-4-5")
_WORKSPACES = ("legal", "legal", "finance", "support", "support", "operations", "human-resources", "sales")
_QUANTITIES = ("1", "1", "1", "{4}", "{4}")


def _templates(chance: random.Random, app: str, *, plain: bool) -> list[str]:
    """Return events with gaps for what differs in each; which fields they have, and in which sort, differs here."""
    return [_template(chance, app, plain=plain) for _ in range(_TEMPLATES)]


def _template(chance: random.Random, app: str, *, plain: bool) -> str:
    """Return one: 0 id, 1 source, 2 subject, 3 time, 4 quantity, 5 to 7 tokens, 8 micros of the cost, 9 operation."""
    feature, unit = chance.choice(_FEATURES[app])

    def sometimes(share: float, text: str) -> str:
        return text if chance.random() < share else ""

    environment = sometimes(0 if plain else 0.03, "staging") or "production"
    quantity = "{4}" if plain else sometimes(0.05, "0") or chance.choice(_QUANTITIES)
    data = (
        f'"environment":"{environment}","workspace":"{chance.choice(_WORKSPACES)}","feature":"{feature}",'
        f'"model":"{chance.choice(_MODELS)}","unit":"{unit}","quantity":{quantity},"input_tokens":{{5}},'
        + sometimes(0.4, '"cached_input_tokens":{6},')
        + '"output_tokens":{7}'
        + sometimes(0.3, ',"cost":"0.{8:06d}"')
        + sometimes(0.7, ',"route":"routed"' if plain or chance.random() > 0.03 else ',"route":"byok"')
        + (sometimes(0.7, ',"status":"succeeded"') if plain or chance.random() > 0.03 else ',"status":"failed"')
        + sometimes(0 if plain else 0.15, ',"operation":"job-{9}"')
        + sometimes(0.15, ',"request_type":"chat.completion"')
    )
    return (
        '{{"specversion":"1.0","type":"ai.usage.v1","id":"{0}","source":"{1}","subject":"{2}","time":"{3}",'
        f'"data":{{{{{data}}}}}}}}}'
    )

"""Pure rating: records in, encoded lines and state records out, as the worker does it, without Kafka.

Measures CPU time (user + system) of this process for decode, rules, lines and states, by events a record. Each figure
is the median of the rounds, with the least and the most; bundles take turns, so that a noisy moment hits all of them.
"""

import argparse
import gc
import json
import random
import statistics
import time
from pathlib import Path

from bench.machine import describe
from pipeline.catalog import load_catalog
from pipeline.domain.catalog import Catalog
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.rating.ledger import Ledger
from pipeline.settings.resources import schema_path

BUNDLES = (1, 100, 1000)
FEATURES = {"docflow": ("contract-extraction", "document"), "helpdesk": ("ticket-summary", "ticket")}
START_MS = 1_793_491_200_000


def make_records(catalog: Catalog, events: int, bundle: int) -> list[Record]:
    """Return records of `bundle` events each, of customers in turn, all of them new."""
    chance = random.Random(1)
    deployments = [each for each in catalog.deployments.values() if each.app in FEATURES and not each.air_gapped]
    models = list(catalog.models)
    records = []
    for offset in range(events // bundle):
        deployment = deployments[offset % len(deployments)]
        feature, unit = FEATURES[deployment.app]
        batch = [
            {
                "specversion": "1.0",
                "type": "ai.usage.v1",
                "id": f"{offset}-{index}",
                "source": deployment.id,
                "subject": deployment.customer,
                "time": "2026-11-01T00:00:00.123Z",
                "data": {
                    "environment": "production",
                    "workspace": chance.choice(("legal", "finance", "support")),
                    "feature": feature,
                    "model": chance.choice(models),
                    "unit": unit,
                    "quantity": chance.randrange(1, 5),
                    "input_tokens": chance.randrange(100, 20_000),
                    "output_tokens": chance.randrange(10, 2_000),
                },
            }
            for index in range(bundle)
        ]
        value = json.dumps(batch, separators=(",", ":")).encode()
        records.append(Record(EVENTS_TOPIC, 0, offset, START_MS + offset, deployment.customer.encode(), value))
    return records


def measure(catalog: Catalog, records: list[Record], events: int, round_events: int) -> float:
    """Return microseconds of CPU an event; effects are taken every `round_events` events, as the worker would."""
    ledger = Ledger(catalog)
    every = max(1, round_events * len(records) // events)
    gc.collect()
    began = time.process_time()
    lines = 0
    for number, record in enumerate(records, start=1):
        ledger.rate(record)
        if number % every == 0:
            lines += len(ledger.take_effects().lines)
    lines += len(ledger.take_effects().lines)
    seconds = time.process_time() - began
    assert lines == events, f"{lines} lines of {events} events"
    return seconds / events * 1e6


def main() -> None:
    """Measure and print a table, and write it as JSON to bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000, help="events a round and bundle")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    catalog = load_catalog(schema_path("examples", "catalog.yaml"))
    inputs = {bundle: make_records(catalog, arguments.events, bundle) for bundle in BUNDLES}
    found: dict[int, list[float]] = {bundle: [] for bundle in BUNDLES}
    for _ in range(arguments.rounds):
        for bundle, records in inputs.items():
            found[bundle].append(measure(catalog, records, arguments.events, 2000))
    print(describe())
    print(f"pure rating, full rules, {arguments.events} events a round, {arguments.rounds} rounds, CPU time\n")
    print("events a record   us/event (least..most)     events/s/core")
    rows = []
    for bundle, values in found.items():
        median = statistics.median(values)
        print(f"{bundle:>15} {median:>10.1f} ({min(values):.1f}..{max(values):.1f}) {1e6 / median:>17,.0f}")
        rows.append({"bundle": bundle, "us_per_event": values, "median": median})
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "rate.json").write_text(json.dumps({"machine": describe(), "rate": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

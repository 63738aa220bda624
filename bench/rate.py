"""Pure rating: records in, encoded lines and state records out, as the worker does it, without Kafka.

Measures CPU time (user + system) of this process for decode, rules, lines and states; effects are taken as often as the
worker takes them. Cases take turns round by round, so that a noisy moment hits all of them; each round begins with no
state. `python -m bench.rate --shapes mixed --bundles 100 --profile` shows where the time goes.
"""

import argparse
import cProfile
import gc
import pstats
import time
from collections.abc import Iterable
from typing import Any

from bench.load import BUNDLES, SHAPES, make_records
from bench.machine import describe
from bench.report import keep, progress, run_main, shown, spread, table
from pipeline.domain.catalog import Catalog
from pipeline.domain.records import Record
from pipeline.rating.ledger import Ledger
from pipeline.stream.memory import keep_memory

ROUND_EVENTS = 20_000
BUNDLE_OF_SHAPES = 100
Rounds = list[list[Record]]


def in_rounds(records: Iterable[Record], bundle: int) -> Rounds:
    """Return records as the worker would take them: so many that their effects are written at once."""
    found: Rounds = [[]]
    for record in records:
        if len(found[-1]) * bundle >= ROUND_EVENTS:
            found.append([])
        found[-1].append(record)
    return found


def rate_rounds(ledger: Ledger, rounds: Rounds) -> int:
    """Rate records, encode everything that the worker would write, and return how many events were looked at."""
    events = 0
    for records in rounds:
        for record in records:
            ledger.rate(record)
        effects = ledger.take_effects()
        events += effects.events
    return events


def cpu_us_an_event(catalog: Catalog, rounds: Rounds, events: int) -> float:
    """Return microseconds of CPU an event, from an empty state on."""
    ledger = Ledger(catalog)
    gc.collect()
    gc.freeze()  # the input is the measurement's, and no work for the collector of a worker
    began = time.process_time()
    rated = rate_rounds(ledger, rounds)
    seconds = time.process_time() - began
    gc.unfreeze()
    if rated != events:
        raise AssertionError(f"{rated} events were rated, not {events}")
    return seconds / events * 1e6


def cases_of(shapes: list[str], bundles: list[int]) -> list[tuple[str, int]]:
    """Return what is measured: the first shape in every bundle, the others in one; `once` has one event a record."""
    cases = [(shapes[0], bundle) for bundle in bundles]
    bundle = BUNDLE_OF_SHAPES if BUNDLE_OF_SHAPES in bundles else bundles[-1]
    return cases + [(name, 1 if SHAPES[name].pick == "once" else bundle) for name in shapes[1:]]


def measure(cases: list[tuple[str, int]], events: int, rounds: int) -> list[dict[str, Any]]:
    """Return microseconds an event for each case."""
    catalogs = {name: SHAPES[name].catalog() for name, _ in cases}
    inputs = {}
    for name, bundle in cases:
        progress(f"rate: making {events:,} events of {name}, {bundle} a record")
        inputs[name, bundle] = in_rounds(make_records(SHAPES[name], events, bundle), bundle)
    found: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for number in range(rounds):
        progress(f"rate: round {number + 1} of {rounds}")
        for name, bundle in cases:
            count = bundle * (events // bundle)
            found[name, bundle].append(cpu_us_an_event(catalogs[name], inputs[name, bundle], count))
    return [{"shape": name, "bundle": bundle, "us_per_event": spread(us)} for (name, bundle), us in found.items()]


def profile(name: str, bundle: int, events: int) -> None:
    """Print which functions of one case take the time."""
    catalog = SHAPES[name].catalog()
    rounds = in_rounds(make_records(SHAPES[name], events, bundle), bundle)
    with cProfile.Profile() as profiler:
        rate_rounds(Ledger(catalog), rounds)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


def main() -> None:
    """Measure and print a table, and write it as JSON to bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="events a round and case")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=[name for name in SHAPES if name != "many"])
    parser.add_argument("--bundles", nargs="+", type=int, default=BUNDLES, help="events a record, of the first shape")
    parser.add_argument("--profile", action="store_true", help="profile the first shape in the first bundle instead")
    arguments = parser.parse_args()
    keep_memory()  # as the worker does
    if arguments.profile:
        profile(arguments.shapes[0], arguments.bundles[0], arguments.events)
        return
    rows = measure(cases_of(arguments.shapes, list(arguments.bundles)), arguments.events, arguments.rounds)
    print(describe())
    print(f"pure rating, full rules, {arguments.events:,} events a round, {arguments.rounds} rounds, CPU time\n")
    titles = ("load", "events a record", "us an event", "events/s/core")
    print(
        table(
            titles,
            [
                (
                    f"{row['shape']}: {SHAPES[row['shape']].about}",
                    row["bundle"],
                    shown(row["us_per_event"]),
                    f"{1e6 / row['us_per_event']['median']:,.0f}",
                )
                for row in rows
            ],
        )
    )
    keep("rate", {"events": arguments.events, "rounds": arguments.rounds, "rate": rows})


if __name__ == "__main__":
    run_main(main)

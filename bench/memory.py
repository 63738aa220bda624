"""Memory: bytes of a customer's state and of a remembered event, and whether the cost of an event stays flat.

Each figure comes from a process of its own that rates events through a ledger, as the worker does, and holds nothing
else. Resident is what the process has gained since it was warm. The changelog is what stays of it after compaction, keys
and values. What a ledger keeps to be faster, up to some number of customers, is full before anything is counted, except
in the table by number of customers.
"""

import argparse
import ctypes
import gc
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from bench.catalogs import HELPDESK_EVERY
from bench.load import SHAPES, Shape, make_records
from bench.machine import describe
from bench.processes import resident_bytes
from bench.report import keep, progress, run_main, shown, spread, table
from pipeline.domain.instants import DAY_US
from pipeline.domain.records import Record
from pipeline.rating.ledger import Ledger
from pipeline.stream.memory import keep_memory

ROUND_EVENTS = 20_000
WINDOWS = 5
PLAIN = replace(SHAPES["many"], plain=True)
"""Without operations, which are remembered too."""
CUSTOMERS_OF_IDENTITIES = 20
CUSTOMERS_OF_STATES = 60_000
EVENTS_OF_STATES = 8
"""Each customer's, so that every allowance has been used."""
CUSTOMERS_OF_AGE = 1000
FEW_CUSTOMERS = 1000
"""Of any number of them, so that rounds of all sizes of a ledger change the same number of states."""
AGES_SHARE = (0.0, 0.05, 0.2, 0.5, 1.0)
_LIBC = ctypes.CDLL(None)


class Subject:
    """A ledger that is fed, and the sizes of its changelog as compaction leaves it, if `notes` are kept of them."""

    def __init__(self, shape: Shape, *, notes: bool = False) -> None:
        catalog = shape.catalog()
        self._notes = notes
        self._sizes: dict[bytes, int] = {}
        self._ledger = Ledger(catalog)
        self.feed(make_records(shape, ROUND_EVENTS, 1, seed=99), 1, ROUND_EVENTS)
        self._ledger = Ledger(catalog)
        self._sizes.clear()
        self._base = _resident()

    def feed(self, records: Iterator[Record], bundle: int, events: int) -> list[float]:
        """Rate so many events in rounds; return each round's microseconds of CPU an event, without making the records."""
        found = []
        for done in range(0, events, ROUND_EVENTS):
            batch = list(itertools.islice(records, min(ROUND_EVENTS, events - done) // bundle))
            if not batch:
                break
            began = time.process_time()
            for record in batch:
                self._ledger.rate(record)
            effects = self._ledger.take_effects()
            found.append((time.process_time() - began) / (len(batch) * bundle) * 1e6)
            if self._notes:
                self._note(itertools.chain(*(changed.records for changed in effects.states)))
        return found

    def _note(self, written: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, value in written:
            self._sizes.pop(key, None)
            if value is not None:
                self._sizes[key] = len(key) + len(value)

    def size(self) -> int:
        """Return the bytes of the changelog if notes are kept, else the resident ones."""
        return sum(self._sizes.values()) if self._notes else _resident() - self._base


def _resident() -> int:
    gc.collect()
    _LIBC.malloc_trim(0)
    return resident_bytes("self")


def of_identities(events: int, *, notes: bool) -> list[float]:
    """Return bytes for each remembered event at several sizes, by what came since the first size, all within an hour."""
    shape = replace(PLAIN, customers=CUSTOMERS_OF_IDENTITIES, pick="zipf", step_us=1000)
    subject = Subject(shape, notes=notes)
    records = make_records(shape, 2 * events, 100)
    sizes = []
    for _ in range(WINDOWS + 1):
        subject.feed(records, 100, events // (WINDOWS + 1))
        sizes.append(subject.size())
    return [(size - sizes[0]) / (number * (events // (WINDOWS + 1))) for number, size in enumerate(sizes[1:], start=1)]


def of_states(customers: int, *, notes: bool) -> tuple[float, float]:
    """Return bytes for each customer of a plan of three allowances, with its first events, and for each later event.

    A third of the customers come first and do not count: then what is kept to be faster is full.
    """
    shape = replace(PLAIN, customers=customers * HELPDESK_EVERY // (HELPDESK_EVERY - 1), pick="once", step_us=1000)
    subject = Subject(shape, notes=notes)
    events = EVENTS_OF_STATES
    made = make_records(shape, 4 * events * shape.customers, events)
    records = (record for record in made if int((record.key or b"")[-7:]) % HELPDESK_EVERY)
    sizes = []
    for share in (customers // 3, customers - customers // 3, customers):
        subject.feed(records, events, share * events)
        sizes.append(subject.size())
    return (sizes[1] - sizes[0]) / (customers - customers // 3), (sizes[2] - sizes[1]) / (customers * events)


def of_customers(customers: int) -> dict[str, Any]:
    """Return resident bytes with so many customers of an event each, and the cost of further events, one a message."""
    shape = replace(PLAIN, customers=customers, pick="once")
    subject = Subject(shape)
    subject.feed(make_records(shape, customers, 1), 1, customers)
    found: dict[str, Any] = {"resident": subject.size()}
    seen = customers
    for name, among in (("us_of_few", min(customers, FEW_CUSTOMERS)), ("us_of_any", customers)):
        more = make_records(replace(shape, customers=among, pick="uniform"), WINDOWS * ROUND_EVENTS, 1, seed=seen)
        found[name] = subject.feed(_later(more, seen), 1, WINDOWS * ROUND_EVENTS)
        seen += WINDOWS * ROUND_EVENTS
    return found


def _later(records: Iterator[Record], offset: int) -> Iterator[Record]:
    """Yield records behind those that were rated before: a state passes over the offsets that it has."""
    for record in records:
        yield record._replace(offset=record.offset + offset)


def of_age(events: int) -> list[tuple[int, list[float]]]:
    """Return the cost of events after so many were seen, over 50 days: the first are forgotten towards the end."""
    shape = replace(SHAPES["zipf"], customers=CUSTOMERS_OF_AGE, step_us=50 * DAY_US // events)
    subject = Subject(shape)
    records = make_records(shape, events + len(AGES_SHARE) * WINDOWS * ROUND_EVENTS, 100)
    found, seen = [], 0
    for share in AGES_SHARE:
        before = max(0, int(share * events) - seen)
        subject.feed(records, 100, before)
        seen += before
        found.append((seen, subject.feed(records, 100, WINDOWS * ROUND_EVENTS)))
        seen += WINDOWS * ROUND_EVENTS
    return found


CHILDREN: dict[str, Callable[..., Any]] = {
    "identities": of_identities,
    "states": of_states,
    "customers": of_customers,
    "age": of_age,
}


def child(what: str, *values: int, **options: bool) -> Any:
    """Return what a measurement gives in a fresh process."""
    progress(f"memory: {what} {' '.join(map(str, values))} {'of the changelog' if options.get('notes') else ''}")
    request = json.dumps([what, values, options])
    done = subprocess.run(
        [sys.executable, "-m", "bench.memory", "--child", request], stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    found: dict[str, Any] = {"identity_bytes": {}, "state_bytes": {}}
    for notes, where in ((False, "resident"), (True, "changelog")):
        identities = child("identities", arguments.identities, notes=notes)
        found["identity_bytes"][where] = spread(identities, 1)
        with_events, of_each = child("states", CUSTOMERS_OF_STATES, notes=notes)
        found["state_bytes"][where] = {
            "with_events": round(with_events),
            "events": EVENTS_OF_STATES,
            "of_each_event": round(of_each, 1),
        }
    found["customers"] = {}
    for customers in arguments.customers:
        made = child("customers", customers)
        each = {"resident_mib": round(made["resident"] / 2**20, 1), "bytes_each": round(made["resident"] / customers)}
        found["customers"][customers] = each | {name: spread(made[name]) for name in ("us_of_few", "us_of_any")}
    found["age"] = {seen: spread(us) for seen, us in child("age", arguments.age)}
    return found


def main() -> None:
    """Measure and print tables, and write it as JSON to bench/results/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identities", type=int, default=600_000, help="remembered events")
    parser.add_argument("--customers", nargs="+", type=int, default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--age", type=int, default=1_000_000, help="events that the oldest state has seen")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        keep_memory()  # as the worker does
        what, values, options = json.loads(arguments.child)
        print(json.dumps(CHILDREN[what](*values, **options)))
        return
    found = run(arguments)
    print(describe())
    show(found)
    keep("memory", found)


def show(found: dict[str, Any]) -> None:
    """Print the tables."""
    identities, states = found["identity_bytes"], found["state_bytes"]
    print("bytes, resident and in the changelog after compaction\n")
    rows = [
        ("a remembered event, among many", *(shown(identities[where]) for where in ("resident", "changelog"))),
        *(
            (words, *(states[where][key] for where in ("resident", "changelog")))
            for words, key in (
                (f"a customer of three allowances, with {EVENTS_OF_STATES} remembered events", "with_events"),
                ("each event after those", "of_each_event"),
            )
        ),
    ]
    print(table(("", "resident", "changelog"), rows))
    print(f"\nby customers: an event each, then CPU time of further ones, of {FEW_CUSTOMERS:,} of them and of any\n")
    rows = [
        (
            f"{int(count):,}",
            each["resident_mib"],
            each["bytes_each"],
            shown(each["us_of_few"]),
            shown(each["us_of_any"]),
        )
        for count, each in found["customers"].items()
    ]
    print(table(("customers", "resident MiB", "bytes each", "us an event, of few", "of any"), rows))
    print(f"\nby age: CPU time, 100 a message, {CUSTOMERS_OF_AGE:,} customers, over 50 days\n")
    print(table(("events seen", "us an event"), [(f"{seen:,}", shown(us)) for seen, us in found["age"].items()]))


if __name__ == "__main__":
    run_main(main)

"""What holds for every line, and what a result must not depend on."""

from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from pipeline.codec.lines import alert_fields, line_fields
from pipeline.codec.records import decode_events, originals_of
from pipeline.domain.catalog import Catalog
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from pipeline.rating.ledger import Ledger
from pipeline.rating.rater import Rater
from tests.rating.support import case, play, rated

SEEDS = range(20)
HOUR_MS = 3_600_000


@pytest.mark.rule("R7.3", "R6.9", "R6.2", "R6.4")
@pytest.mark.parametrize("seed", SEEDS)
def test_lines_conserve_quantity_and_charge(seed: int) -> None:
    """The parts of a usage line sum to its quantity, those of any other are 0; shares of the charge sum to it."""
    for line in rated(seed).lines:
        parts = [line[name] for name in ("included", "granted", "overage", "blocked")]
        assert min(parts) >= 0
        assert sum(parts) == (line["quantity"] if line["kind"] == "usage" else 0)
        assert sum(use["units"] for use in line["pools"]) == line["included"] + line["granted"]
        assert line["charge_pico"] == line["provider_reward_pico"] + line["builder_earnings_pico"]
        assert line["charge_pico"] == line["cost_charged_pico"] + line["margin_pico"] + line["surcharge_pico"]
        assert 0 <= line["cost_charged_pico"] <= line["cost_pico"]


@pytest.mark.rule("R7.2")
@pytest.mark.parametrize("seed", SEEDS)
def test_lines_of_a_customer_count_without_a_gap(seed: int) -> None:
    """A customer's seq is 1, 2, 3 and so on, in the order of its records."""
    seqs: dict[str, list[int]] = defaultdict(list)

    for line in rated(seed).lines:
        seqs[line["customer"]].append(line["seq"])

    for found in seqs.values():
        assert found == list(range(1, len(found) + 1))


@pytest.mark.rule("R8.1", "R5.4")
@pytest.mark.parametrize("seed", SEEDS)
def test_statements_hold_every_charge_once(seed: int) -> None:
    """The charges of all statement rows sum to the charges of all lines, and rows conserve their quantity."""
    rows = [row for statement in rated(seed).statements for row in statement["rows"]]

    assert sum(row["charge_pico"] for row in rows) == sum(line["charge_pico"] for line in rated(seed).lines)
    for row in rows:
        assert row["quantity"] == row["included"] + row["granted"] + row["overage"] + row["blocked"]


def results(catalog: Catalog, records: list[Record]) -> tuple[list[Any], ...]:
    """Return lines, alerts, rejects and the number of duplicates, without where in which record they came from."""
    rater = Rater(catalog, durable=False)
    outcomes = [rater.rate(record) for record in records]
    return (
        [line_fields(line) for outcome in outcomes for line in outcome.lines],
        [alert_fields(alert) for outcome in outcomes for alert in outcome.alerts],
        [
            (letter.code, letter.message, letter.original.strip())
            for outcome in outcomes
            for letter in outcome.dead_letters
        ],
        [sum(outcome.duplicates for outcome in outcomes)],
    )


def cut_anew(records: list[Record], rng: Random) -> list[Record]:
    """Return the same events in other arrays: those of one key, timestamp and origin split up and put together."""
    cut: list[Record] = []
    pending: list[bytes] = []
    headers = records[0]

    def flush() -> None:
        while pending:
            size = rng.randint(1, len(pending))
            events, pending[:] = pending[:size], pending[size:]
            payload = (
                events[0] if size == 1 and events[0][:1] == b"{" and rng.random() < 0.5 else b"[%b]" % b",".join(events)
            )
            cut.append(headers._replace(value=payload))

    for record in records:
        plain = record._replace(headers=tuple(each for each in record.headers if each[0] != "content-type"))
        if pending and plain._replace(value=b"", offset=0) != headers._replace(value=b"", offset=0):
            flush()
        headers = plain
        if is_array_or_event(record):
            pending += originals_of(record)
        else:
            flush()
            cut.append(record)
    flush()
    return cut


def is_array_or_event(record: Record) -> bool:
    if record.topic != EVENTS_TOPIC:
        return False
    try:
        decode_events(record)
    except Rejected:
        return False
    return len(record.value or b"") < 10_000


@pytest.mark.rule("R3.3", "R2.1")
@pytest.mark.parametrize("seed", SEEDS)
def test_cutting_events_into_records_changes_nothing(seed: int) -> None:
    """However the events of one key and timestamp are cut into arrays, the results are the same."""
    records = case(seed).records
    together = [each._replace(timestamp_ms=-(-each.timestamp_ms // HOUR_MS) * HOUR_MS) for each in records]

    other = cut_anew(together, Random(seed))

    assert [each.value for each in other] != [each.value for each in together]
    assert results(case(seed).catalog, other) == results(case(seed).catalog, together)


@pytest.mark.rule("R3.3")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_cutting_records_into_rounds_changes_nothing(seed: int, size: int) -> None:
    """Whether effects are taken after each record or after many, what is written is the same to the byte."""
    records = case(seed).records
    rounds = [records[at : at + size] for at in range(0, len(records), size)]

    cut, whole = play(Ledger(case(seed).catalog), rounds), play(Ledger(case(seed).catalog), [records])

    assert cut.outputs() == whole.outputs()


def shuffled_customers(records: list[Record], rng: Random) -> list[Record]:
    """Return the records in a random order that keeps the order of each key."""
    queues: dict[bytes | None, list[Record]] = defaultdict(list)
    for record in reversed(records):
        queues[record.key].append(record)
    keys = [record.key for record in records]
    rng.shuffle(keys)
    return [queues[key].pop() for key in keys]


def without_all_others(records: list[Record], rng: Random) -> list[Record]:
    """Return the records of one customer alone."""
    key = rng.choice([record.key for record in records if record.key])
    return [record for record in records if record.key == key]


@pytest.mark.rule("R3.3")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("change", [shuffled_customers, without_all_others])
def test_other_customers_change_nothing(seed: int, change: Callable[[list[Record], Random], list[Record]]) -> None:
    """A customer's lines and alerts are the same whatever records of others stand between, before or after its own."""
    records = case(seed).records
    changed = change(records, Random(seed))

    lines, alerts, *_ = results(case(seed).catalog, changed)

    kept = {record.key.decode(errors="replace") for record in changed if record.key}
    key = lambda fields: (fields["customer"], fields["seq"])  # noqa: E731 - one line says it best
    wanted = [line for line in rated(seed).lines if line["customer"] in kept]
    wanted_alerts = [alert for alert in rated(seed).alerts if alert["customer"] in kept]
    assert sorted(lines, key=key) == sorted(wanted, key=key)
    assert sorted(alerts, key=key) == sorted(wanted_alerts, key=key)
    assert lines

"""The fuzzers' targets on their seeds, on what they once found, and on some mutations: as a plain test."""

from pathlib import Path
from random import Random

import pytest

from pipeline.domain.records import EVENTS_TOPIC
from tests.fuzz.accounts import check_effects
from tests.fuzz.journals import CASE, RECORDS_MAX, read_journal, write_journal
from tests.fuzz.run import REGRESSIONS
from tests.fuzz.targets import SIZE_MAX, TARGETS
from tests.rating.support import Ledger

KEPT = sorted(REGRESSIONS.glob("*-*"))
MUTATIONS = {"records": 1500, "bulk": 150, "grants": 3000, "journal": 3000, "states": 400, "agent": 250, "model": 150}


def blind(rng: Random, data: bytes, size_max: int) -> bytes:
    """Do as libFuzzer does, without knowing the form."""
    at = rng.randrange(len(data) + 1)
    put_in = rng.choice([b"", bytes([rng.randrange(256)]), data[at : at + 8], rng.randbytes(4)])
    return (data[:at] + put_in + data[at + rng.choice([0, 1, 8]) :])[:size_max]


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_of_use(name: str) -> None:
    """A target takes its seeds without a finding, and they are not all refused."""
    target = TARGETS[name]

    counts = sum((target.run(seed) for seed in target.seeds()), start=target.run(b""))

    refused = sum(count for what, count in counts.items() if what.startswith(("reject", "refused", "not")))
    assert counts["records"] >= len(target.seeds())
    assert refused < counts.total() / 2


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_what_was_found_once_stays_mended(path: Path) -> None:
    """An input on which a target has failed before is run again."""
    name, _, what = path.name.partition("-")
    assert what

    TARGETS[name].run(path.read_bytes())


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_the_seeds_are_accounted_for(name: str) -> None:
    """A short walk of the fuzzer, always the same one, meets nothing that is not accounted for."""
    target, rng = TARGETS[name], Random(name)
    inputs = list(target.seeds())

    for _ in range(MUTATIONS[name]):
        data = target.mutate(rng.choice(inputs), SIZE_MAX[name], rng, lambda each, size: blind(rng, each, size))
        target.run(data)
        if rng.random() < 0.1:
            inputs[rng.randrange(len(inputs))] = data


def test_bytes_are_journals_and_back() -> None:
    """The records of a case come back from their bytes, their timestamps to the second; any bytes are some records."""
    records = [record for record in CASE.records if len(record.value or b"") < 5000][:RECORDS_MAX]

    again = read_journal(write_journal(records))

    assert [(r.topic, r.key, r.value) for r in again] == [(r.topic, r.key, r.value) for r in records]
    assert all(
        0 <= after.timestamp_ms - record.timestamp_ms < 1000 for record, after in zip(records, again, strict=True)
    )
    assert read_journal(write_journal(again)) == again
    assert len(read_journal(b"\xff" * 100_000)) == 2


def test_an_event_that_is_lost_is_found() -> None:
    """The account of usage events does not balance when a line is missing, or a dead letter."""
    records = [record for record in CASE.records if record.topic == EVENTS_TOPIC][:40]
    ledger = Ledger(CASE.catalog)
    for record in records:
        ledger.rate(record)
        effects = ledger.take_effects()
        check_effects(record, effects)
        lost = [effects._replace(dead_letters=effects.dead_letters[1:])] if effects.dead_letters else []
        for block in effects.blocks[:1]:
            shorter = block._replace(lines=block.lines - 1)
            lost.append(effects._replace(blocks=[shorter, *effects.blocks[1:]]))
        for each in lost:
            with pytest.raises(AssertionError):
                check_effects(record, each)

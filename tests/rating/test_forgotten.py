"""What a customer's state forgets, it forgets in the changelog too, and nothing else."""

import json
from typing import Any

import pytest

from pipeline.domain.catalog import Allowance, Catalog
from pipeline.rating.ledger import Ledger
from tests.domain.world import World
from tests.rating.support import Log, event, play, record, restored

JANUARY = "2026-01-10T12:00:00Z"


def both_ways(catalog: Catalog, rounds: list[Any], last: Any) -> list[list[dict[str, Any]]]:
    """Return the lines of a last record, rated by the ledger that rated the rounds, and by one that is restored."""
    log, ledger = Log(), Ledger(catalog)
    play(ledger, rounds, log)
    ledgers = (ledger, restored(catalog, log.compacted().items()))
    return [[json.loads(line) for line in play(each, [[last]]).lines] for each in ledgers]


@pytest.mark.rule("R6.2", "R4.5")
def test_a_day_that_is_forgotten_and_only_looked_at_again_is_deleted(monkeypatch) -> None:
    """A day's pool is dropped and begins afresh in one round: what was written of it must not come back."""
    monkeypatch.setattr("pipeline.rating.tracked.PACKED_COUNTERS_MAX", 0)
    catalog = World(allowances=(Allowance("a", 5, per="day"),)).catalog
    april = "2026-04-10T12:00:00Z"
    rounds = [
        [record(0, [event("x", time=JANUARY, quantity=5)], JANUARY)],
        [record(1, [event("y", time=april)], april), record(2, [event("z", time=JANUARY, quantity=0)], JANUARY)],
    ]

    live, again = both_ways(catalog, rounds, record(3, [event("w", time=JANUARY)], JANUARY))

    assert live == again
    assert live[0]["included"] == 1


@pytest.mark.rule("R6.2", "R3.3")
def test_operations_are_deleted_when_the_state_forgets_them_and_not_before(monkeypatch) -> None:
    """Within one round the watermark enters the day of retirement, and then passes its hour: operations are still known."""
    monkeypatch.setattr("pipeline.domain.digests.SEGMENT_ENTRIES", 1)
    catalog = World(grace_hours=5).catalog
    before, after = "2026-03-08T01:00:00Z", "2026-03-08T06:00:00Z"
    rounds = [
        [record(0, [event("x", time=JANUARY, operation="job")], JANUARY)],
        [record(1, [event("y", time=before)], before), record(2, [event("z", time=after)], after)],
    ]

    live, again = both_ways(catalog, rounds, record(3, [event("w", time=JANUARY, operation="job")], JANUARY))

    assert live == again
    assert live[0]["kind"] == "repeat"

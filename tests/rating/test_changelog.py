import pytest

from pipeline.codec.states import IDENTITIES, PACK, parse_part
from pipeline.domain.catalog import Allowance, Budget
from pipeline.rating.ledger import Ledger
from tests.domain.world import World
from tests.rating.support import event, parts_in, record


def test_a_state_whose_head_is_missing_stops_the_worker(monkeypatch) -> None:
    """A customer whose pack is not in the changelog is not begun again from nothing."""
    monkeypatch.setattr("pipeline.domain.digests.SEGMENT_ENTRIES", 1)
    catalog = World().catalog
    owner = Ledger(catalog)
    owner.rate(record(0, [event("a")]))
    changed = owner.take_effects().states[0]
    recovered = Ledger(catalog)
    for key, value in changed.records:
        if parse_part(key).kind != PACK:
            recovered.restore(key, value)

    with pytest.raises(ValueError, match="not whole"):
        recovered.rate(record(1, [event("b")]))


def test_a_sender_of_ever_new_workspaces_makes_no_part_of_the_state_large() -> None:
    """Pools and budgets of thousands of workspaces are spread, so that no round writes all of them again."""
    allowance = Allowance("a", 10, scope="workspace")
    catalog = World(allowances=(allowance,), budgets=(Budget("b", blocks=True, quantity=5, scope="workspace"),)).catalog
    ledger = Ledger(catalog)
    for number in range(20):
        ledger.rate(record(number, [event(f"{number}-{at}", workspace=f"w{number}-{at}") for at in range(250)]))
    ledger.take_effects()

    ledger.rate(record(20, [event("one more", workspace="w0-0")]))
    (changed,) = ledger.take_effects().states

    assert sum(len(value or b"") for part, value in parts_in(changed.records) if part.kind != IDENTITIES) < 5_000

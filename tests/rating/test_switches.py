"""Another catalog version comes into force in the middle of a partition (R10.4)."""

import json
from dataclasses import replace

import pytest

from pipeline.codec.lines import COLUMNS, objects_of
from pipeline.codec.switches import SWITCH_KEY, encode_switch, switched_to
from pipeline.domain.catalog import Catalog, Model
from pipeline.domain.records import GRANTS_TOPIC, Record
from pipeline.rating.ledger import Effects, Ledger
from pipeline.rating.rater import Rater
from tests.domain.world import NOON, World, ms
from tests.rating.test_ledger import event, record


def versions() -> dict[str, Catalog]:
    """Return two versions; in the second the model is another provider's and dearer."""
    first = replace(World().catalog, digest="a" * 32)
    dearer = Model("small", "q", "standard", 500_000, 50_000, 4_000_000)
    return {"a" * 32: first, "b" * 32: replace(first, models={"small": dearer}, digest="b" * 32)}


def switch(digest: str) -> Record:
    return Record(GRANTS_TOPIC, 0, 0, ms(NOON), SWITCH_KEY, encode_switch(digest))


def lines(effects: Effects) -> list[tuple[str, str]]:
    found = [json.loads(text) for block in effects.blocks for text in objects_of(block.rows, COLUMNS)]
    return [(line["catalog"], line["provider"]) for line in found]


@pytest.mark.rule("R10.4")
def test_lines_name_the_version_that_rated_them() -> None:
    """A switch changes what is rated after it, and nothing before; the tariffs worked out before are not used again."""
    known = versions()
    ledger = Ledger(known["a" * 32], known.__getitem__)

    for each in (record(0, event("a")), switch("b" * 32), record(1, event("b"))):
        ledger.rate(each)
    effects = ledger.take_effects()

    assert lines(effects) == [("a" * 32, "p"), ("b" * 32, "q")]
    assert effects.switched_to == "b" * 32
    assert ledger.take_effects().switched_to is None


@pytest.mark.rule("R10.4")
def test_a_version_that_is_not_there_is_an_error() -> None:
    """Nothing is rated by a version that the rater does not have."""
    rater = Rater(versions()["a" * 32], durable=False)

    with pytest.raises(KeyError, match="b" * 32):
        rater.rate(switch("b" * 32))


@pytest.mark.rule("R10.4")
def test_only_the_record_of_its_key_switches() -> None:
    """A customer's grant of the same words is none; a damaged switch is an error and not passed over."""
    customer = switch("b" * 32)._replace(key=b"acme")
    damaged = switch("b" * 32)._replace(value=b"{}")

    assert switched_to(customer) is None
    with pytest.raises(ValueError, match=r"billing.grants/0 offset 0: a switch of the catalog cannot be read"):
        switched_to(damaged)

import pytest

from pipeline.domain import terms
from pipeline.domain.catalog import Allowance
from tests.domain.world import World, match


@pytest.mark.rule("R4.2")
def test_answers_are_those_worked_out_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remembered terms equal fresh ones, also once there were more shapes of events than are remembered."""
    monkeypatch.setattr(terms, "_SHAPES_MAX", 3)
    world = World(allowances=(Allowance("a", 1, match=match(workspace="w3")), Allowance("b", 1, scope="workspace")))
    events = [world.event(workspace=f"w{number % 7}", model="large" if number % 2 else "small") for number in range(40)]

    for event in events:
        assert world.terms.of(world.plan, event) == terms.terms_of(world.catalog, world.plan, event)
        assert len(world.terms._known) <= 3


@pytest.mark.rule("R4.2")
@pytest.mark.parametrize(
    "changes",
    [
        {"source": "dep2"},
        {"environment": "s"},
        {"workspace": "w"},
        {"feature": "x"},
        {"model": "large"},
        {"unit": "page"},
    ],
)
def test_every_field_that_a_match_can_name_tells_shapes_apart(changes: dict) -> None:
    """Two events that differ in one of these fields never share remembered terms."""
    world = World()
    plain, other = world.event(), world.event(**changes)

    assert world.terms.of(world.plan, plain).attributes != world.terms.of(world.plan, other).attributes

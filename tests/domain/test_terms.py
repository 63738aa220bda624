from dataclasses import replace
from typing import Any

import pytest

from pipeline.domain import terms
from pipeline.domain.catalog import Allowance, Budget, PriceRow, Surcharge, Tier
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
    ("key", "field"),
    [
        ("deployment", "source"),
        ("environment", "environment"),
        ("workspace", "workspace"),
        ("feature", "feature"),
        ("model", "model"),
        ("unit", "unit"),
    ],
)
@pytest.mark.parametrize(
    ("where", "row"),
    [
        ("allowances", Allowance("a", 1)),
        ("prices", PriceRow(tiers=(Tier(None, 1),))),
        ("surcharges", Surcharge("s", per_unit_pico=1)),
        ("budgets", Budget("b", blocks=True, quantity=1)),
    ],
)
def test_every_field_that_a_match_can_name_tells_shapes_apart(key: str, field: str, where: str, row: Any) -> None:
    """Wherever a plan matches a field, two events that differ in it alone never share remembered terms."""
    world = World(**{where: (replace(row, match=match(**{key: "large"})),)})
    plain, other = world.event(), world.event(**{field: "large"})

    found = [world.terms.of(world.plan, event) for event in (plain, other, plain, other)]

    assert found == [terms.terms_of(world.catalog, world.plan, event) for event in (plain, other, plain, other)]
    assert found[0] != found[1]


@pytest.mark.rule("R4.2")
def test_deployments_share_what_does_not_depend_on_them() -> None:
    """A plan that names no deployment has one answer for all, however many deployments there are."""
    world = World(allowances=(Allowance("a", 1, scope="deployment"),))

    assert world.terms.of(world.plan, world.event()) is world.terms.of(world.plan, world.event(source="dep2"))

import pytest

from pipeline.domain.catalog import Allowance
from pipeline.domain.lines import Line
from tests.domain.world import CENT, World, match


def drawn(line: Line) -> list[tuple[str, str, int]]:
    return [(use.id, use.scope_value, use.units) for use in line.pools]


@pytest.mark.rule("R6.4", "R7.3")
def test_allowances_come_in_plan_order_then_grants_then_overage() -> None:
    """A quantity runs down the allowances as the plan lists them, then the grants; what is left is overage."""
    world = World(allowances=(Allowance("second-letter", 2), Allowance("first-letter", 3)))
    world.grant("gift", 4)

    line = world.line(quantity=10)

    assert drawn(line) == [("second-letter", "", 2), ("first-letter", "", 3), ("gift", "", 4)]
    assert (line.included, line.granted, line.overage, line.blocked) == (5, 4, 1, 0)


@pytest.mark.rule("R6.4")
def test_pools_keep_what_they_lost() -> None:
    """Each event finds what the ones before it left; an empty pool is passed over."""
    world = World(allowances=(Allowance("a", 3),))

    lines = [world.line(quantity=2) for _ in range(3)]

    assert [(line.included, line.overage) for line in lines] == [(2, 0), (1, 1), (0, 2)]
    assert lines[2].pools == ()


@pytest.mark.rule("R6.4")
def test_a_unit_costs_its_weight() -> None:
    """A pool of credits covers balance // weight units, loses that times the weight, and keeps the remainder."""
    world = World(allowances=(Allowance("credits", 13, credits={"document": 5, "ticket": 1}),))

    documents = world.line(quantity=9)
    tickets = world.line(quantity=9, unit="ticket")

    assert (documents.included, documents.overage) == (2, 7)
    assert (tickets.included, tickets.overage) == (3, 6)


@pytest.mark.rule("R6.4")
def test_a_unit_without_a_weight_does_not_match() -> None:
    """With credits given, a unit that they do not name takes nothing from the pool."""
    world = World(allowances=(Allowance("credits", 10, credits={"ticket": 1}), Allowance("none", 10, credits={})))

    assert world.line(quantity=2).overage == 2


@pytest.mark.rule("R6.4")
def test_a_weight_above_the_balance_covers_nothing() -> None:
    """A pool that cannot pay for one whole unit is passed over, and keeps its balance for lighter units."""
    world = World(allowances=(Allowance("credits", 4, credits={"document": 5, "ticket": 4}), Allowance("b", 1)))

    document = world.line()
    ticket = world.line(unit="ticket")

    assert drawn(document) == [("b", "", 1)]
    assert drawn(ticket) == [("credits", "", 1)]


@pytest.mark.rule("R4.2")
@pytest.mark.parametrize(
    ("key", "value", "changes"),
    [
        ("unit", "document", {"unit": "page"}),
        ("workspace", "legal", {"workspace": "ops"}),
        ("feature", "contract-extraction", {"feature": "rewrite"}),
        ("model", "small", {"model": "large"}),
        ("class", "standard", {"model": "large"}),
        ("deployment", "dep", {"source": "dep2"}),
        ("environment", "production", {"environment": "staging"}),
    ],
)
def test_a_match_compares_exact_values(key: str, value: str, changes: dict) -> None:
    """Each key of a match accepts its exact values only."""
    world = World(allowances=(Allowance("a", 10, match=match(**{key: value})),))

    assert world.line().included == 1
    assert world.line(**changes).included == 0


@pytest.mark.rule("R4.2")
def test_all_keys_of_a_match_must_hold() -> None:
    """A match of two keys needs both; of several values, one is enough."""
    both = {"unit": frozenset({"document", "page"}), "workspace": frozenset({"legal"})}
    world = World(allowances=(Allowance("a", 10, match=both),))

    assert world.line(unit="page").included == 1
    assert world.line(unit="page", workspace="ops").included == 0
    assert world.line(unit="answer").included == 0


@pytest.mark.rule("R4.2")
@pytest.mark.parametrize(
    ("scope", "values"),
    [("customer", ["", "", ""]), ("deployment", ["dep", "dep2", "dep"]), ("workspace", ["legal", "legal", "ops"])],
)
def test_a_pool_is_kept_for_each_value_of_its_scope(scope: str, values: list[str]) -> None:
    """There is one pool for the customer, or one for each deployment or workspace."""
    world = World(allowances=(Allowance("a", 1, scope=scope),))

    lines = [world.line(), world.line(source="dep2"), world.line(workspace="ops")]

    first = {value: values.index(value) for value in values}
    for number, (line, value) in enumerate(zip(lines, values, strict=True)):
        assert drawn(line) == ([("a", value, 1)] if first[value] == number else [])


@pytest.mark.rule("R4.2", "R6.4")
@pytest.mark.parametrize(
    ("per", "included"), [("hour", [1, 0, 1, 1, 1]), ("day", [1, 0, 0, 1, 1]), ("period", [1, 0, 0, 0, 1])]
)
def test_a_pool_starts_each_of_its_windows_full(per: str, included: list[int]) -> None:
    """Hour and day pools begin anew with each UTC hour and day, all of them with the period."""
    world = World(allowances=(Allowance("a", 1, per=per),))

    times = ["10T12:00:00Z", "10T12:59:59.999999Z", "10T13:00:00Z", "11T12:00:00Z"]
    lines = [world.line(time=f"2026-11-{time}") for time in times] + [world.line(time="2026-12-10T12:00:00Z")]

    assert [line.included for line in lines] == included


@pytest.mark.rule("R4.2", "R3.2")
def test_windows_are_found_by_posting_time() -> None:
    """An event of yesterday draws from yesterday's pool; a late one from that of the record's day."""
    world = World(allowances=(Allowance("a", 1, per="day"),), grace_hours=0)

    today = world.line(time="2026-11-01T12:00:00Z")
    late = world.line(time="2026-10-31T12:00:00Z", sent="2026-11-01T13:00:00Z")
    yesterday = world.line(time="2026-11-02T12:00:00Z", sent="2026-11-03T00:00:00Z")

    assert [line.included for line in (today, late, yesterday)] == [1, 0, 1]


@pytest.mark.rule("R6.6", "R7.3")
def test_quantity_0_is_included_while_a_pool_could_cover_one_unit() -> None:
    """A further call costs nothing while any matching pool has a unit left, and takes none."""
    world = World(allowances=(Allowance("a", 1),))

    free = world.line(quantity=0)
    world.line()
    charged = world.line(quantity=0)

    assert (free.charge_pico, free.included, free.pools) == (0, 0, ())
    assert (charged.charge_pico, charged.overage, charged.blocked) == (CENT, 0, 0)


@pytest.mark.rule("R6.6")
def test_a_pool_counts_for_quantity_0_only_when_it_affords_a_whole_unit() -> None:
    """A balance below the weight covers no call; a grant covers it as an allowance does."""
    world = World(allowances=(Allowance("credits", 4, credits={"document": 5}),))

    before = world.line(quantity=0)
    world.grant("g", 1)
    after = world.line(quantity=0)

    assert (before.charge_pico, after.charge_pico) == (CENT, 0)
    assert world.state.grants[0].balance == 1


@pytest.mark.rule("R6.4")
def test_a_grant_and_an_allowance_of_one_id_are_two_pools() -> None:
    """Ids of grants and allowances do not collide."""
    world = World(allowances=(Allowance("same", 1),))
    world.grant("same", 1)

    line = world.line(quantity=3)

    assert drawn(line) == [("same", "", 1), ("same", "", 1)]
    assert (line.included, line.granted) == (1, 1)

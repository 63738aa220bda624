"""The second pass of a re-rating looks ahead: a trial must leave the real states alone."""

import pytest

from pipeline.cli.audit_catalogs import InForce
from pipeline.cli.audit_rerate import Rerating
from pipeline.domain.catalog import Allowance, Budget
from pipeline.rating.rater import Rater
from tests.domain.world import World, snapshot
from tests.rating.support import event, record


@pytest.mark.parametrize(
    ("value", "makes_lines"),
    [
        (event("b", operation="job"), True),
        ([event("a"), event("nowhere", source="nowhere"), event("b", quantity=9)], True),
        (event("a"), False),
        ([event("a", quantity=9), {}], False),
        (b"nonsense", False),
    ],
)
def test_a_trial_tells_whether_a_record_makes_a_line_and_changes_nothing(value: object, *, makes_lines: bool) -> None:
    """Pools, budgets, operations and identities are untouched, also those that remembered tariffs hold on to."""
    catalog = World(
        allowances=(Allowance("a", 2), Allowance("d", 1, scope="workspace", per="day")),
        budgets=(Budget("b", blocks=True, quantity=9),),
    ).catalog
    rater = Rater(catalog, durable=False)
    rater.rate(record(0, [event("a"), event("c", quantity=3)]))
    before = snapshot(rater.state_of("acme"))
    rerating = Rerating(None, InForce({}.__getitem__, catalog), None, None, None)

    told = [rerating._makes_lines(rater, record(1, value)) for _ in range(2)]

    assert told == [makes_lines] * 2
    assert snapshot(rater.state_of("acme")) == before
    assert bool(rater.rate(record(1, value)).lines) == makes_lines

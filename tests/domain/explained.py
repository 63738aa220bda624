"""What came before a line, from the lines themselves: what ClickHouse is asked for, in Python."""

from collections import defaultdict
from collections.abc import Iterable

from pipeline.domain.explanations_history import GrantHistory, History, PoolHistory, ShapeHistory, Windows
from pipeline.domain.lines import Line

DAY, HOUR = len("2026-11-03"), len("2026-11-03T10")


def history_of(line: Line, lines: Iterable[Line]) -> History:
    """Return what lines before a line say of its account and of grants."""
    earlier = [each for each in lines if each.customer == line.customer and each.seq < line.seq]
    account = (line.plan, line.plan_version, line.period)
    ours = [each for each in earlier if (each.plan, each.plan_version, each.period) == account]
    pools, grants = defaultdict(lambda: [0, 0, 0]), defaultdict(int)
    shapes = defaultdict(lambda: ([0, 0, 0], [0, 0, 0]))
    for each in earlier:
        covered = 0
        for use in each.pools:
            covered += use.units
            if covered > each.included:
                grants[use.id, each.unit] += use.units
            elif each in ours:
                _add(pools[use.id, use.scope_value, each.unit], line, each, use.units)
    for each in ours:
        names = (each.deployment, each.environment, each.workspace, each.feature)
        overage, charge = shapes[*names, each.model, each.model_class, each.unit]
        _add(overage, line, each, each.overage)
        _add(charge, line, each, each.charge_pico if each.kind == "usage" else 0)
    return History(
        len(ours),
        tuple(PoolHistory(*names, Windows(*sums)) for names, sums in pools.items()),
        tuple(ShapeHistory(*names, Windows(*one), Windows(*other)) for names, (one, other) in shapes.items()),
        tuple(GrantHistory(*names, units) for names, units in grants.items()),
    )


def _add(sums: list[int], line: Line, earlier: Line, number: int) -> None:
    for place, digits in enumerate((0, DAY, HOUR)):
        if line.posted_at[:digits] == earlier.posted_at[:digits]:
            sums[place] += number

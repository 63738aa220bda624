# ruff: noqa: S608 - pieces of SQL are constants of ours, values are bound as parameters
"""What is kept of lines beside them: the rollup sums to them, and nothing came to a frozen statement (R8.1, R10.3)."""

from pipeline.billing.audit.findings import Check, Finding
from pipeline.billing.audit.scratch import Scratch
from pipeline.billing.sums import AMOUNTS, COUNTS, DIMENSIONS, MEASURES

_AGAIN_MAX = 3
"""While the rollup is refreshed, two sums of one moment may differ once."""
_KEY = ", ".join(DIMENSIONS)
_OF_LINES = ", ".join(
    [
        "count()",
        *(f"sum(toUInt128(usage_lines.{name}))" for name in COUNTS),
        *(f"sum(toInt256(usage_lines.{name}))" for name in AMOUNTS),
    ]
)
_ROLLED_UP = f"""
SELECT {_KEY}, toString(anyIf(totals, side = 1)) AS expected, toString(anyIf(totals, side = 2)) AS found
FROM (
    SELECT {_KEY.replace("day", "toDate(posted_at) AS day")}, ({_OF_LINES}) AS totals, 1 AS side
    FROM usage.usage_lines FINAL
    INNER JOIN (SELECT customer, max(upto) AS upto FROM usage.rollup_days WHERE @scope GROUP BY customer) AS done
        USING (customer)
    WHERE @scope AND period = {{period:Date}} AND seq <= done.upto
    GROUP BY {_KEY}
    UNION ALL
    SELECT {_KEY}, ({", ".join(f"sum(rollup_days.{name})" for name in MEASURES)}), 2
    FROM usage.rollup_days FINAL WHERE @scope AND period = {{period:Date}}
    GROUP BY {_KEY}
)
GROUP BY {_KEY}
HAVING count() != 2 OR expected != found
"""
_CAME_LATER = """
SELECT usage_lines.customer AS customer, usage_lines.seq AS seq,
    concat('app ', usage_lines.app, ': came to a frozen statement behind its cut-off') AS what,
    toString(frozen.cut_off) AS expected, toString(usage_lines.seq) AS found
FROM usage.usage_lines FINAL
INNER JOIN (SELECT customer, app, period, cut_off FROM usage.closings FINAL WHERE @scope) AS frozen
    USING (customer, app, period)
WHERE @scope AND period = {period:Date} AND usage_lines.seq > frozen.cut_off
"""

Differences = dict[tuple[object, ...], tuple[str, str]]


def check_rollup(scratch: Scratch) -> Check:
    """Check that each row of the rollup is the sum of its lines, up to the line that it has reached."""
    check = Check("rollup", ("R8.1", "R5.3"), "usage.rollup_days has the sums of its lines, to the picodollar")
    differences = _differences(scratch)
    for _ in range(_AGAIN_MAX - 1):
        if not differences:
            break
        again = _differences(scratch)
        differences = {key: again[key] for key in differences if key in again}
    for key, (expected, found) in sorted(differences.items(), key=lambda item: str(item[0])):
        of = dict(zip(DIMENSIONS, key, strict=True))
        what = f"usage.rollup_days: {of['day']}, app {of['app']}, {of['feature']}, {of['workspace']}, {of['model']}"
        finding = Finding(str(of["customer"]), None, what, _named(expected), _named(found))
        check.add(finding, scratch.scope.findings_max)
    return check


def check_frozen(scratch: Scratch) -> Check:
    """Check that no line behind a frozen statement's cut-off belongs to it."""
    check = Check("frozen statements", ("R10.3", "R3.2"), "a frozen statement gets no line after its cut-off")
    scratch.collect(check, _CAME_LATER.replace("@scope", scratch.scope.of_customer()))
    return check


def _differences(scratch: Scratch) -> Differences:
    rows = scratch.rows(_ROLLED_UP.replace("@scope", scratch.scope.of_customer()))
    return {tuple(key): (expected, found) for *key, expected, found in rows}


def _named(totals: str) -> dict[str, int]:
    return dict(zip(MEASURES, map(int, totals.strip("()").split(",")), strict=True))

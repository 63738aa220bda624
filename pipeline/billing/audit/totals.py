# ruff: noqa: S608 - pieces of SQL are constants of ours, values are bound as parameters
"""Statements against an independent sum of lines, in exact integers (R8.1, R5.3)."""

from pipeline.billing.audit.findings import Check, Finding
from pipeline.billing.audit.scratch import Scratch

_AGAIN_MAX = 3
"""While lines come in, two sums of one moment may differ once."""
_KEY = "customer, app, feature, unit"
_SUMS = "sum(included), sum(granted), sum(overage), sum(blocked)"

# Without FINAL and without a view: the latest version of each line is chosen here.
_INDEPENDENT = f"""
SELECT {_KEY}, (sumIf(quantity, kind = 'usage'), {_SUMS}, sum(charge), count()) AS totals
FROM (
    SELECT customer, latest.1 AS period, latest.2 AS app, latest.3 AS feature, latest.4 AS unit, latest.5 AS kind,
        latest.6 AS quantity, latest.7 AS included, latest.8 AS granted, latest.9 AS overage, latest.10 AS blocked,
        latest.11 AS charge
    FROM (
        SELECT customer, argMax((period, app, feature, unit, kind, quantity, included, granted, overage, blocked,
            toInt256(charge_pico)), version) AS latest
        FROM usage.usage_lines WHERE @scope GROUP BY customer, seq
    )
)
WHERE period = {{period:Date}} GROUP BY {_KEY}
"""
_VIEWS = {
    "usage.statements_v1": f"""
SELECT {_KEY}, (quantity, included, granted, overage, blocked, toInt256(reinterpretAsInt128(charge)), lines) AS totals
FROM usage.statements_v1 WHERE period = {{period:Date}} AND @scope
""",
    "usage.lines_v1": f"""
SELECT {_KEY}, (sumIf(quantity, kind = 'usage'), {_SUMS}, sum(toInt256(reinterpretAsInt128(charge))), count()) AS totals
FROM usage.lines_v1 WHERE period = {{period:Date}} AND @scope GROUP BY {_KEY}
""",
}
_COMPARED = f"""
SELECT {_KEY}, toString(anyIf(totals, side = 1)) AS expected, toString(anyIf(totals, side = 2)) AS found
FROM (SELECT {_KEY}, totals, 1 AS side FROM (@sums) UNION ALL SELECT {_KEY}, totals, 2 AS side FROM (@view))
GROUP BY {_KEY}
HAVING count() != 2 OR expected != found
"""
_NAMES = ("quantity", "included", "granted", "overage", "blocked", "charge_pico", "lines")

Differences = dict[tuple[str, ...], tuple[str, str]]


def check_totals(scratch: Scratch) -> Check:
    """Check that what statements are made from equals the sum of the lines."""
    check = Check("totals", ("R8.1", "R5.3"), "statements equal the sums of their lines, to the picodollar")
    for view, sql in _VIEWS.items():
        differences = _compared(scratch, sql)
        for _ in range(_AGAIN_MAX - 1):
            if not differences:
                break
            again = _compared(scratch, sql)
            differences = {key: again[key] for key in differences if key in again}
        for (customer, app, feature, unit), (expected, found) in sorted(differences.items()):
            what = f"{view}: app {app}, {feature}, {unit}: does not equal the sum of the lines"
            check.add(Finding(customer, None, what, _named(expected), _named(found)), scratch.scope.findings_max)
    return check


def _compared(scratch: Scratch, view: str) -> Differences:
    sql = _COMPARED.replace("@sums", _INDEPENDENT).replace("@view", view)
    rows = scratch.rows(sql.replace("@scope", scratch.scope.of_customer()))
    return {tuple(key): (expected, found) for *key, expected, found in rows}


def _named(totals: str) -> dict[str, int]:
    return dict(zip(_NAMES, map(int, totals.strip("()").split(",")), strict=True))

# ruff: noqa: S608 - pieces of SQL are constants of ours, values are bound as parameters
"""Whether there is anything to audit, and what there is instead."""

import difflib

from pipeline.billing.audit.scratch import Scratch

_NAMES_SHOWN_MAX = 12
_CUSTOMERS_COMPARED_MAX = 100_000

_PERIODS = """
SELECT DISTINCT toString(period) AS name FROM (
    SELECT period FROM {db}.found UNION ALL SELECT period FROM {db}.logged WHERE @scope
) ORDER BY name
"""


def what_is_known(scratch: Scratch) -> str | None:
    """Return None when there is something to audit, by ClickHouse or by the logs, else what there is instead."""
    scope = scratch.scope
    periods = [name for (name,) in scratch.rows(_PERIODS.replace("@scope", scope.of_customer()))]
    if scope.period in periods:
        return None
    if not periods and scratch.rows("SELECT 1 FROM {db}.heads WHERE seq > 0 LIMIT 1"):
        return None  # everything is gone, but the states remember
    if periods:
        whose = "" if scope.customer is None else f" of customer {scope.customer!r}"
        more = len(periods) - _NAMES_SHOWN_MAX
        named = ", ".join(periods[-_NAMES_SHOWN_MAX:]) + (f" and {more} earlier ones" if more > 0 else "")
        return f"no lines{whose} in period {scope.period}; periods with lines: {named}"
    if scope.customer is None:
        return "there are no lines at all, neither in ClickHouse nor in usage.lines"
    return f"no lines of customer {scope.customer!r}{_did_you_mean(scratch, scope.customer)}"


def _did_you_mean(scratch: Scratch, customer: str) -> str:
    sql = f"SELECT DISTINCT customer FROM usage.usage_lines LIMIT {_CUSTOMERS_COMPARED_MAX}"
    nearest = difflib.get_close_matches(customer, [name for (name,) in scratch.rows(sql)], n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""

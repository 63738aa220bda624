# ruff: noqa: S608 - pieces of SQL are constants of ours, values are bound as parameters
"""ClickHouse against what should be there: a log, or a re-rating, line by line and column by column.

First the sums of digests over blocks of lines, then the lines of the blocks that differ: a clean period costs one pass
over the compact rows.
"""

from typing import Any

from pipeline.billing.audit.findings import Check, Finding, differing
from pipeline.billing.audit.scratch import Scratch
from pipeline.billing.audit.snapshot import note_wanted

_BLOCK = "(customer, intDiv(seq, 8192))"

_DIFFERENCES = f"""
INSERT INTO {{db}}.differences_@source
WITH suspect AS (
    SELECT customer, intDiv(seq, 8192) AS block
    FROM (
        SELECT customer, seq, digest, 1 AS side FROM {{db}}.found WHERE period = {{period:Date}} AND provable
        UNION ALL
        SELECT customer, seq, digest, 2 AS side FROM {{db}}.wanted_@source WHERE period = {{period:Date}}
    )
    GROUP BY customer, block
    HAVING countIf(side = 1) != countIf(side = 2) OR sumIf(digest, side = 1) != sumIf(digest, side = 2)
)
SELECT customer, seq, multiIf(countIf(side = 1) = 0, 'missing', countIf(side = 2) = 0, 'extra', 'different') AS kind
FROM (
    SELECT customer, seq, digest, period, 1 AS side, false AS tail
    FROM {{db}}.found WHERE provable AND {_BLOCK} IN suspect
    UNION ALL
    SELECT customer, seq, digest, period, 2 AS side, tail
    FROM {{db}}.wanted_@source WHERE {_BLOCK} IN suspect
)
GROUP BY customer, seq
HAVING countIf(period = {{period:Date}}) > 0
    AND (countIf(side = 1) != countIf(side = 2) OR sumIf(digest, side = 1) != sumIf(digest, side = 2))
    AND NOT (kind = 'missing' AND max(tail))
"""

# A version counts the records of both topics that were applied: the same event with another version was rated behind
# another grant.
_MISPLACED = """
SELECT DISTINCT customer FROM (
    SELECT customer FROM (
        SELECT customer, seq, version FROM {db}.wanted_rated
        UNION ALL
        SELECT customer, seq, version FROM {db}.wanted_logged
    )
    WHERE (customer, seq) IN (SELECT customer, seq FROM {db}.differences_rated)
    GROUP BY customer, seq
    HAVING count() = 2 AND uniqExact(version) = 2
) ORDER BY customer
"""

_FIRST = "SELECT customer, seq FROM {db}.differences_@source ORDER BY customer, seq LIMIT @limit"
_BRIEF = ("period", "app", "feature", "unit", "quantity", "charge_pico")
_PLACE = ("log_partition", "log_offset")

Row = dict[str, Any]
Key = tuple[str, int]


def compare(scratch: Scratch, check: Check, source: str, topic: str) -> None:
    """Add to a check what ClickHouse has otherwise than `source`, which is `logged` or `rated`, made from `topic`."""
    _note_differences(scratch, source)
    ((count,),) = scratch.rows(f"SELECT count() FROM {{db}}.differences_{source}")
    check.count += count
    if count:
        check.findings += _explained(scratch, source, topic, scratch.scope.findings_max - len(check.findings))


def misplaced_customers(scratch: Scratch) -> list[str]:
    """Return the customers whose grants the re-rating has put elsewhere among the events than the workers did."""
    _note_differences(scratch, "rated")
    return [customer for (customer,) in scratch.rows(_MISPLACED)]


def logged_versions(scratch: Scratch, customer: str) -> dict[int, int]:
    """Return the version of each of a customer's lines in the log, by number."""
    rows = scratch.rows(
        "SELECT seq, version FROM {db}.wanted_logged WHERE customer = {name:String}", {"name": customer}
    )
    return {int(seq): int(version) for seq, version in rows}


def forget_rated(scratch: Scratch, customers: list[str]) -> None:
    """Forget the re-rated lines of customers: they are rated once more."""
    for customer in customers:
        scratch.run("DELETE FROM {db}.rated WHERE customer = {name:String}", {"name": customer})


def _note_differences(scratch: Scratch, source: str) -> None:
    for table in ("wanted", "differences"):
        scratch.run(f"TRUNCATE TABLE {{db}}.{table}_{source}")
    note_wanted(scratch, source)
    scratch.run(_DIFFERENCES.replace("@source", source))


def _explained(scratch: Scratch, source: str, topic: str, limit: int) -> list[Finding]:
    """Return the first differences, with what was expected and what is there."""
    first = _FIRST.replace("@source", source).replace("@limit", str(max(0, limit)))
    columns = ", ".join(f"`{name}`" for name in scratch.columns)
    where = f"WHERE (customer, seq) IN ({first})"
    found = _by_key(scratch.dicts(f"SELECT {columns} FROM usage.usage_lines FINAL {where}"))
    places = ", ".join(_PLACE)
    wanted = _by_key(scratch.dicts(f"SELECT {columns}, {places} FROM {{db}}.{source} {where} ORDER BY version"))
    return [_finding(key, wanted.get(key), found.get(key), topic) for key in sorted(set(found) | set(wanted))]


def _by_key(rows: list[Row]) -> dict[Key, Row]:
    return {(row["customer"], row["seq"]): row for row in rows}


def _finding(key: Key, wanted: Row | None, found: Row | None, topic: str) -> Finding:
    if wanted is None:
        return Finding(*key, f"line is not in {topic}: nobody rated it", None, _brief(found))
    place = f"{topic}/{wanted.pop(_PLACE[0])} offset {wanted.pop(_PLACE[1])}"
    if found is None:
        return Finding(*key, f"line is missing; it comes from {place}", _brief(wanted), None)
    expected, there = differing(wanted, found)
    return Finding(*key, f"{', '.join(expected) or 'line'}: not as in {place}", expected, there)


def _brief(row: Row | None) -> Row | None:
    return None if row is None else {name: row[name] for name in _BRIEF}

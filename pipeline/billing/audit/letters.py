# ruff: noqa: S608 - pieces of SQL are constants of ours, values are bound as parameters
"""Dead letters: no reject twice, and with a re-rating, each reject there and no other (R2.3)."""

from pipeline.billing.audit.findings import Check
from pipeline.billing.audit.scratch import Scratch

_WHERE = (
    "concat(topic, '/', toString(partition), ' offset ', toString(offset), "
    "if(place < 0, '', concat(' event ', toString(place))))"
)

# The sink may repeat its own.
_TWICE = f"""
SELECT any(customer) AS name, CAST(NULL, 'Nullable(Int64)') AS line,
    concat({_WHERE}, ': rejected several times') AS what, '1' AS expected, toString(count()) AS found
FROM {{db}}.letters WHERE topic != 'usage.lines'
GROUP BY topic, partition, offset, place
HAVING count() > 1
"""

# A dead letter may be older than what usage.dead-letter still holds: nothing is missing before the first one there.
_DIFFERENT = f"""
SELECT if(empty(theirs), ours, theirs) AS name, CAST(NULL, 'Nullable(Int64)') AS line,
    concat({_WHERE}, multiIf(expected = '', ': the event is no reject', found = '', ': the dead letter is missing',
        expected != found, ': rejected with another code', ': other bytes than the event')) AS what, expected, found
FROM (
    SELECT topic, partition, offset, place,
        anyIf(customer, side = 1) AS ours, anyIf(customer, side = 2) AS theirs,
        anyIf(code, side = 1) AS expected, anyIf(code, side = 2) AS found,
        anyIf(original, side = 1) AS original_expected, anyIf(original, side = 2) AS original_found,
        maxIf(tail, side = 1) AS coming
    FROM (
        SELECT topic, partition, offset, place, toString(code) AS code, original, customer, tail, 1 AS side
        FROM {{db}}.rejected
        UNION ALL
        SELECT topic, partition, offset, place, toString(code), original, customer, tail, 2 AS side
        FROM {{db}}.letters WHERE topic != 'usage.lines'
    )
    GROUP BY topic, partition, offset, place
    HAVING (expected != found OR original_expected != original_found) AND NOT (found = '' AND coming)
) AS difference
LEFT JOIN (
    SELECT topic AS of_topic, partition AS of_partition, min(offset) AS first
    FROM {{db}}.letters WHERE has([@cut], log_partition) GROUP BY topic, partition
) AS reach ON topic = of_topic AND partition = of_partition
WHERE NOT (found = '' AND has([@cut], partition) AND (first = 0 OR offset < first))
"""


def add_doubled_letters(scratch: Scratch, check: Check) -> None:
    """Add the rejects that stand in usage.dead-letter several times."""
    scratch.collect(check, _TWICE)


def add_wrong_letters(scratch: Scratch, check: Check, cut: set[int]) -> None:
    """Add what usage.dead-letter has otherwise than a re-rating; `cut` are its partitions whose beginning is gone."""
    scratch.collect(check, _DIFFERENT.replace("@cut", ", ".join(f"toUInt32({number})" for number in sorted(cut))))

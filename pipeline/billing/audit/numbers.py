"""Line numbers: 1, 2, 3 ... for every customer, up to the number that the worker's state says (R7.2)."""

from pipeline.billing.audit.findings import Check
from pipeline.billing.audit.scratch import Scratch

# The whole sequence of each customer who has a line in the period, by ClickHouse or by the log.
_GAPS = """
SELECT customer, toInt64(before + 1) AS missing,
    if(seq = before + 2, 'line is missing', concat('lines ', toString(before + 1), ' to ', toString(seq - 1), ' are missing'))
        AS what,
    toString(before + 1) AS expected, toString(seq) AS found
FROM (
    SELECT customer, seq, lagInFrame(seq, 1, toUInt64(0)) OVER (PARTITION BY customer ORDER BY seq ASC) AS before
    FROM {db}.found
    WHERE customer IN (
        SELECT customer FROM {db}.found GROUP BY customer HAVING count() != max(seq) OR min(seq) != 1
    ) AND customer IN (
        SELECT customer FROM {db}.found WHERE period = {period:Date}
        UNION DISTINCT
        SELECT customer FROM {db}.wanted_logged WHERE period = {period:Date}
    )
)
WHERE seq != before + 1
"""

# A deleted last line leaves no gap. `elsewhere` counts the lines that are gone and belong to another period, as the log
# tells; `coming`, those that were on their way while we looked.
_LAST = """
SELECT customer, toInt64(if(few, last + 1, last)) AS line,
    if(few, 'lines at the end are missing: the state in usage.states has numbered more',
        'the state in usage.states has not numbered so many lines') AS what,
    toString(if(few, early, latest)) AS expected, toString(last) AS found
FROM (
    SELECT customer, max(state_early) AS early, max(state_latest) AS latest, max(line) AS last, early > last AS few
    FROM (
        SELECT customer, argMaxIf(seq, log_offset, NOT late) AS state_early, argMax(seq, log_offset) AS state_latest,
            toUInt64(0) AS line
        FROM {db}.heads GROUP BY customer
        UNION ALL
        SELECT customer, 0, 0, max(seq) FROM {db}.found GROUP BY customer
    )
    GROUP BY customer
    HAVING early > last OR latest < last
) AS bad
LEFT JOIN (
    SELECT name, sum(period != {period:Date} OR tail) AS excused FROM (
        SELECT customer AS name, seq, period, tail FROM {db}.wanted_logged
    ) AS line INNER JOIN (
        SELECT customer, max(seq) AS last FROM {db}.found GROUP BY customer
    ) AS there ON line.name = there.customer WHERE line.seq > there.last GROUP BY name
) AS gone ON bad.customer = gone.name
WHERE NOT few OR early > last + excused
"""


def check_numbers(scratch: Scratch) -> Check:
    """Check that every customer's lines are numbered from 1 without a gap, and that none is gone at the end."""
    check = Check(
        "line numbers", ("R7.2",), "each customer's lines are numbered 1, 2, 3 ... as far as the state counts"
    )
    scratch.collect(check, _GAPS)
    scratch.collect(check, _LAST)
    return check

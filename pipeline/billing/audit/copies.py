# ruff: noqa: S608 - pieces of SQL are constants of ours, values are bound as parameters
"""Lines that are stored more than once, and identities that were accepted twice (R7.2, R6.1)."""

from pipeline.billing.audit.findings import Check
from pipeline.billing.audit.scratch import Scratch

_CONTRADICTING = """
SELECT customer, toInt64(seq) AS line, 'rows of the same version differ' AS what, '1 content' AS expected,
    concat(toString(uniqExact(digest)), ' contents of version ', toString(version)) AS found
FROM (SELECT customer, seq, version, period, @digest AS digest FROM usage.usage_lines WHERE @scope)
GROUP BY customer, seq, version
HAVING uniqExact(digest) > 1 AND countIf(period = {period:Date}) > 0
"""

_SEEN_TWICE = """
SELECT customer, toInt64(seq) AS line, 'usage.lines_v1 shows the line several times' AS what, '1' AS expected,
    toString(count()) AS found
FROM usage.lines_v1 WHERE @scope
GROUP BY customer, seq
HAVING count() > 1 AND countIf(period = {period:Date}) > 0
"""

_COPIES = """
INSERT INTO {db}.copies
SELECT customer, seq, count() AS copies, countIf(period = {period:Date} AND @scope) > 0 AS in_scope
FROM usage.usage_lines
GROUP BY customer, seq
HAVING copies > 1
"""

# The sink inserts, and inserts again, whole records of usage.lines; merges take copies away part by part, and a part holds
# whole records too. So lines of one record that are stored unequally often were not doubled by a sink. (A record whose
# lines are in the log twice tells nothing.)
_UNEVEN = """
SELECT customer, toInt64(seq) AS line, 'line is stored more often than the others of its record in usage.lines' AS what,
    toString(fewest) AS expected, toString(stored) AS found
FROM (
    SELECT customer, seq, stored, in_scope, min(stored) OVER record AS fewest, max(times) OVER record AS most_times
    FROM (
        SELECT line.customer AS customer, line.seq AS seq, line.log_partition AS log_partition,
            line.log_offset AS log_offset, greatest(copies.copies, 1) AS stored, copies.in_scope AS in_scope,
            count() OVER (PARTITION BY line.customer, line.seq) AS times
        FROM (
            SELECT customer, seq, log_partition, log_offset FROM {db}.logged
            WHERE (log_partition, log_offset) IN (
                SELECT log_partition, log_offset FROM {db}.logged
                WHERE (customer, seq) IN (SELECT customer, seq FROM {db}.copies WHERE in_scope)
            )
        ) AS line
        LEFT JOIN {db}.copies AS copies ON line.customer = copies.customer AND line.seq = copies.seq
    )
    WINDOW record AS (PARTITION BY log_partition, log_offset)
)
WHERE in_scope AND stored > fewest AND most_times = 1
"""

# A sink says before it inserts a record again. What is stored several times without that was put in by somebody else.
_PLANTED = """
SELECT customer, toInt64(seq) AS line, 'line is stored several times, but no sink has repeated its record' AS what,
    '1' AS expected, toString(any(copies)) AS found
FROM (
    SELECT line.customer AS customer, line.seq AS seq, line.log_partition AS log_partition,
        line.log_offset AS log_offset, copies.copies AS copies
    FROM {db}.logged AS line
    INNER JOIN (SELECT * FROM {db}.copies WHERE in_scope) AS copies
        ON line.customer = copies.customer AND line.seq = copies.seq
) AS place
LEFT JOIN (
    SELECT partition, groupArray((first_offset, next_offset)) AS spans
    FROM usage.sink_repeats WHERE topic = 'usage.lines' GROUP BY partition
) AS repeats ON place.log_partition = repeats.partition
GROUP BY customer, seq
HAVING count() = 1
    AND NOT max(arrayExists(span -> log_offset >= span.1 AND log_offset < span.2, repeats.spans))
"""

_DAYS_35_US = 35 * 24 * 3600 * 1_000_000
_FUTURE_US = 5 * 60 * 1_000_000
"""By how much an event's time may be ahead of its record's (R2.4)."""

# Lines do not hold their record's timestamp. They were posted at it, or at a time that is at most 5 minutes ahead of it.
_SAME_IDENTITY = f"""
SELECT customer, toInt64(greatest(seq, before)) AS line, 'same (customer, source, id) as an earlier line' AS what,
    'accepted once in 35 days' AS expected, concat('line ', toString(least(seq, before)), ' too') AS found
FROM (
    SELECT customer, seq, period, posted_at,
        lagInFrame(seq, 1, toUInt64(0)) OVER same AS before,
        lagInFrame(period, 1) OVER same AS period_before,
        lagInFrame(posted_at, 1) OVER same AS posted_before
    FROM {{db}}.found
    WHERE identity IN (SELECT identity FROM {{db}}.found GROUP BY identity HAVING count() > 1)
    WINDOW same AS (PARTITION BY identity ORDER BY posted_at ASC, seq ASC)
)
WHERE before > 0 AND (period = {{period:Date}} OR period_before = {{period:Date}})
    AND abs(toUnixTimestamp64Micro(posted_at) - toUnixTimestamp64Micro(posted_before)) < {_DAYS_35_US - _FUTURE_US}
"""

# Where the events were rated again, that says exactly which lines there are.
_NOT_RATED = f"""
SELECT customer, line, what, expected, found FROM ({_SAME_IDENTITY})
WHERE (customer, line) NOT IN (
    SELECT customer, toInt64(seq) FROM {{db}}.wanted_rated
    WHERE (customer, seq) IN (SELECT customer, toUInt64(line) FROM ({_SAME_IDENTITY}))
)
"""


def check_copies(scratch: Scratch) -> Check:
    """Check that no line is there twice: with two contents, twice in the view, or put in again by hand.

    A sink that repeats an insert leaves identical copies until ClickHouse merges them, and no reader sees them: a note.
    It says so in usage.sink_repeats before it does.
    """
    check = Check("doubled lines", ("R7.2",), "no line is there twice")
    scope = scratch.scope.of_customer()
    scratch.collect(check, _CONTRADICTING.replace("@digest", scratch.digest()).replace("@scope", scope))
    scratch.collect(check, _SEEN_TWICE.replace("@scope", scope))
    scratch.run(_COPIES.replace("@scope", scope))
    ((copies,),) = scratch.rows("SELECT count() FROM {db}.copies WHERE in_scope")
    if copies:
        scratch.collect(check, _PLANTED)
        scratch.collect(
            check, f"SELECT * FROM ({_UNEVEN}) WHERE (customer, line) NOT IN (SELECT customer, line FROM ({_PLANTED}))"
        )
        some = scratch.rows("SELECT customer, seq FROM {db}.copies WHERE in_scope ORDER BY customer, seq LIMIT 3")
        named = ", ".join(f"{customer} {seq}" for customer, seq in some)
        check.notes.append(
            f"{copies:,} lines are stored in several rows, of which readers see one: what a sink has repeated, and what is "
            f"named above ({named}{' ...' if copies > len(some) else ''})"
        )
    return check


def check_identities(scratch: Scratch) -> Check:
    """Check that no event was accepted twice within 35 days."""
    check = Check("identities", ("R6.1",), "no event (customer, source, id) has two lines within 35 days")
    scratch.collect(check, _NOT_RATED)
    return check

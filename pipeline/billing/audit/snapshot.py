"""ClickHouse's lines as they are at one moment, and what the log says they should be, in the same compact form.

Both are (customer, seq) with a digest over every column. The pipeline may go on meanwhile: what is in the log only behind
the `tail` mark may be in ClickHouse or not, and everything that is in the snapshot must be in the log by then.
"""

from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from pipeline.billing.audit.scratch import Scratch

_SNAPSHOT = """
INSERT INTO {db}.found
SELECT customer, seq, version, period, @digest, posted_at, @identity, @provable
FROM usage.usage_lines AS line FINAL @reach
WHERE @scope
"""

_REACH = """
LEFT JOIN (
    SELECT customer AS name, min(seq) AS first FROM {db}.logged WHERE @scope GROUP BY customer
) AS reach ON line.customer = reach.name
"""

_WANTED = """
INSERT INTO {db}.wanted_@source
SELECT customer, seq, max(version), argMax(period, version), argMax(digest, version), min(tail), count()
FROM (SELECT customer, seq, version, period, tail, @digest AS digest FROM {db}.@source WHERE @scope)
GROUP BY customer, seq
"""

_COUNTS = """
SELECT
    (SELECT (count(), uniqExact(customer)) FROM {db}.found WHERE period = {period:Date}),
    (SELECT count() FROM {db}.found),
    (SELECT count() FROM {db}.found WHERE period = {period:Date} AND NOT provable)
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much was looked at."""

    lines: int
    """Of the period."""
    customers: int
    """With lines in the period."""
    lines_of_all_periods: int
    lines_before_log: int
    """Lines of the period that are older than what usage.lines still holds."""


def sink_positions(client: Client) -> dict[int, int]:
    """Return up to which offset (exclusive) each partition of usage.lines is in ClickHouse, as the sink noted."""
    rows = client.query("SELECT partition, next_offset FROM usage.sink_positions FINAL WHERE topic = 'usage.lines'")
    return {int(partition): int(next_offset) for partition, next_offset in rows.result_rows}


def take_snapshot(scratch: Scratch, *, log_is_cut: bool) -> None:
    """Note ClickHouse's lines as they are now.

    When the log's beginning is gone (`log_is_cut`), a line with a smaller number than the customer's first one in the log
    is noted as not provable.
    """
    sql = _SNAPSHOT.replace("@reach", _REACH if log_is_cut else "")
    sql = sql.replace("@provable", "reach.first > 0 AND line.seq >= reach.first" if log_is_cut else "true")
    sql = sql.replace("@identity", "reinterpretAsUInt128(sipHash128(customer, source, event_id))")
    scratch.run(_scoped(sql.replace("@digest", scratch.digest()), scratch))


def note_wanted(scratch: Scratch, source: str) -> None:
    """Bring the lines of `logged` or `rated` into the compact form; of a line that is there twice, the latest version."""
    scratch.run(_scoped(_WANTED.replace("@source", source).replace("@digest", scratch.digest()), scratch))


def count_snapshot(scratch: Scratch) -> Counts:
    """Return how much the snapshot holds."""
    (((lines, customers), of_all_periods, before_log),) = scratch.rows(_COUNTS)
    return Counts(lines, customers, of_all_periods, before_log)


def _scoped(sql: str, scratch: Scratch) -> str:
    return sql.replace("@scope", scratch.scope.of_customer())

"""The audit of a period: every check by itself, over what ClickHouse holds and what the logs say.

Owns: the checks and their SQL, the scratch tables in which logs and ClickHouse are laid side by side.
Does not own: reading Kafka, rating again, printing (cli).
"""

from pipeline.billing.audit.books import check_books
from pipeline.billing.audit.checks import CHECKS, check_log, check_rated
from pipeline.billing.audit.compare import forget_rated, logged_versions, misplaced_customers
from pipeline.billing.audit.findings import Check, Finding, Scope
from pipeline.billing.audit.known import what_is_known
from pipeline.billing.audit.letters import add_doubled_letters, add_wrong_letters
from pipeline.billing.audit.scratch import Scratch
from pipeline.billing.audit.snapshot import Counts, count_snapshot, sink_positions, take_snapshot

__all__ = [
    "CHECKS",
    "Check",
    "Counts",
    "Finding",
    "Scope",
    "Scratch",
    "add_doubled_letters",
    "add_wrong_letters",
    "check_books",
    "check_log",
    "check_rated",
    "count_snapshot",
    "forget_rated",
    "logged_versions",
    "misplaced_customers",
    "sink_positions",
    "take_snapshot",
    "what_is_known",
]

"""Questions to ClickHouse: what a customer owes, and for what.

Owns: the SQL of statements and of what exists.
Does not own: the tables and views (sink), rounding and the statement's shape (domain), printing (cli).
"""

from pipeline.billing.statement import Freshness, NoStatementError, only_app, read_freshness, read_statement

__all__ = ["Freshness", "NoStatementError", "only_app", "read_freshness", "read_statement"]

"""The lines topic to ClickHouse, repeatable at any time without a reader noticing.

Owns: the ClickHouse schema (migrations), the inserts, the sink's positions, what ClickHouse refuses.
Does not own: what a line says (domain, rating), queries for people (billing).
"""

from pipeline.sink.run import LINES_TOPIC, run_sink

__all__ = ["LINES_TOPIC", "run_sink"]

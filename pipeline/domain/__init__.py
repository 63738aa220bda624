"""The rules of the money: pure functions of (state, event, catalog), standard library only.

Owns: events, catalog, time and periods, pools, rating, lines, statements.
Does not own: bytes (codec), files (catalog), Kafka (stream), ClickHouse (sink, billing), a clock, logging.
"""

"""Embedded servers: the Kafka protocol broker and the ClickHouse engine that a laptop runs, from PyPI wheels alone."""

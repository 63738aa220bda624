"""Quota in memory: the last record of each customer, how old it is, and decisions made before they are asked for.

Owns: following `usage.quota` from Kafka or the API's stream, freshness, and the memory of decisions.
Does not own: what a decision is (domain), what a record looks like (codec), policies for the stale (sdk), routes (api).
"""

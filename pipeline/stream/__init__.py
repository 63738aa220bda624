"""The Faust app: topics in, rated effects out, states kept. The only room that knows faust.

Owns: topics, consumer group, assignment, recovery, the order of effects (DESIGN 4), the order of two topics.
Does not own: rating (rating, domain), forms on the wire (codec), ClickHouse (sink).

Importing this package does not import faust; `pipeline.stream.worker` does.
"""

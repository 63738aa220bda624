"""Bytes to domain and back: CloudEvents, grants, lines, customer states, journals.

Owns: forms on the wire. Does not own: what they mean (domain), where they go (stream, sink).
"""

"""Records in, effects and states out: the same for the worker and for offline rating. No IO.

Owns: which customer a record belongs to, what of its state changed and must be written.
Does not own: the rules (domain), forms on the wire (codec), when and where anything is written (stream, cli).
"""

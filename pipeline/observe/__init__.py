"""What the processes tell about themselves.

Owns: the closed list of counters, their meaning and their current values.
Does not own: log formats (cli), what is counted when (the room that counts).
"""

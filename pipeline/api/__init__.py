"""The HTTP API: events in, quota out, grants; one process, as many as are needed."""

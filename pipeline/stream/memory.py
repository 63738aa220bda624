"""How a worker's process holds its memory: the interpreter's and the allocator's defaults are made for smaller things."""

import ctypes
import gc

YOUNG_OBJECTS_MAX = 1_000_000
"""How many objects may come to be before the collector of cycles looks at them. At Python's 700 it takes a fifth of the
worker's time, for records, lines and states that hold no cycles and are freed by their reference counts."""
OLD_COLLECTIONS_MIN = 1000
"""How often the younger ones are looked through before all are: states are many, and stay."""
KEPT_BYTES_MAX = 64 << 20
"""What is freed at the top of the heap is kept up to this size; glibc gives it back, and takes it again page by page."""
MAPPED_BYTES_MIN = 32 << 20
"""Smaller pieces, such as fetches and batches, come from the heap; it is the most that glibc takes."""
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_memory() -> None:
    """Set how memory is given back and how often cycles are looked for; the former with glibc only."""
    gc.set_threshold(YOUNG_OBJECTS_MAX, 10, OLD_COLLECTIONS_MIN)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES_MAX)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)


def freeze() -> None:
    """Take what is there, modules and recovered states, from the collector of cycles: it stays.

    Without a collection before it, which would hold up a worker with many states for seconds.
    """
    gc.freeze()

"""The worker's name in its consumer group: unique on this machine, and the same again after a crash.

Kafka gives a member that comes back under its name (group.instance.id) its partitions at once, instead of waiting until
the dead one's session has run out.
"""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SLOTS_MAX = 1024


@contextmanager
def worker_name(group: str, folder: Path | None = None) -> Iterator[str]:
    """Claim a name for a member of the group, and hold it until the end of the block, or of the process however it ends.

    Raises RuntimeError when SLOTS_MAX workers of the group run on this machine already.
    """
    tidy = "".join(character if character.isalnum() else "-" for character in group)
    locks = (folder or Path(tempfile.gettempdir())) / f"usage-{os.getuid()}-{tidy}"
    for slot in range(1, SLOTS_MAX + 1):
        with Path(f"{locks}-{slot}.lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with its process: free again after kill -9
            except BlockingIOError:
                continue
            yield f"{socket.gethostname()}-{slot}"
            return
    raise RuntimeError(f"{SLOTS_MAX} workers of group {group} run on this machine already")

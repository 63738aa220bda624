"""Keep a small table in an append-only file of JSON lines, where a later line replaces an earlier one of its kind."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

REWRITTEN_FROM_BYTES = 1 << 20
_GROWTH_MAX = 4


class Journal:
    """One file; a line is in it, and outlives the death of this process, when `append` returns."""

    def __init__(self, path: Path, snapshot: Callable[[], Iterable[Any]]) -> None:
        """Keep the table that `snapshot` tells line by line; read what there is with `lines`, then call `rewrite`."""
        self._path = path
        self._snapshot = snapshot
        self._file = -1
        self._size = self._size_rewritten = 0

    def lines(self) -> Iterator[Any]:
        """Yield what the file holds; a last line that a crash has cut is left out."""
        if self._path.exists():
            for line in self._path.read_bytes().split(b"\n")[:-1]:
                yield json.loads(line)

    def append(self, entries: Iterable[Any]) -> None:
        """Write lines, all or none.

        Raises:
            OSError: the disk is full.

        """
        data = _encoded(entries)
        if os.write(self._file, data) != len(data):
            os.ftruncate(self._file, self._size)
            raise OSError("the disk is full")
        self._size += len(data)

    def trim(self) -> None:
        """Rewrite the file if it has grown to many times its table."""
        if self._size > max(REWRITTEN_FROM_BYTES, _GROWTH_MAX * self._size_rewritten):
            self.rewrite()

    def rewrite(self) -> None:
        """Write the table afresh, without the lines that were replaced, and open the file for more."""
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(_encoded(self._snapshot()))
        opened = os.open(fresh, os.O_WRONLY | os.O_APPEND)
        fresh.replace(self._path)
        self.close()
        self._file = opened
        self._size = self._size_rewritten = os.fstat(opened).st_size

    def close(self) -> None:
        """Flush to the disk and close the file."""
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1


def _encoded(entries: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries)

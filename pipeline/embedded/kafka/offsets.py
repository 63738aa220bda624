"""Keep the offsets that consumer groups commit, in an append-only file of JSON lines."""

import json
from pathlib import Path
from typing import NamedTuple, TextIO


class Committed(NamedTuple):
    """A committed offset and the note that came with it."""

    offset: int
    metadata: str


Place = tuple[str, int]


class Offsets:
    """The committed offsets of all groups: (topic, partition) to `Committed`, by group."""

    def __init__(self, path: Path) -> None:
        """Read the file, drop what was overwritten since, and open it for more; a last line cut by a crash is dropped."""
        self._path = path
        self.of_group: dict[str, dict[Place, Committed]] = {}
        if path.exists():
            for line in path.read_bytes().split(b"\n")[:-1]:
                group, topic, partition, offset, metadata = json.loads(line)
                self._take(group, topic, partition, offset, metadata)
        self._file = self._rewrite()

    def commit(self, group: str, places: dict[Place, Committed]) -> None:
        """Keep offsets; they outlive the death of this process when this returns."""
        for (topic, partition), committed in places.items():
            self._take(group, topic, partition, *committed)
            self._write(self._file, group, topic, partition, committed)
        self._file.flush()

    def forget_group(self, group: str) -> None:
        """Drop a group's offsets."""
        self.of_group.pop(group, None)
        self._file.close()
        self._file = self._rewrite()

    def forget_topic(self, topic: str) -> None:
        """Drop a topic's offsets, so that a new topic of its name begins afresh."""
        for places in self.of_group.values():
            for place in [place for place in places if place[0] == topic]:
                del places[place]
        self._file.close()
        self._file = self._rewrite()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _take(self, group: str, topic: str, partition: int, offset: int, metadata: str) -> None:
        self.of_group.setdefault(group, {})[topic, partition] = Committed(offset, metadata)

    def _rewrite(self) -> TextIO:
        fresh = self._path.with_suffix(".new")
        with fresh.open("w") as out:
            for group, places in self.of_group.items():
                for (topic, partition), committed in places.items():
                    self._write(out, group, topic, partition, committed)
        fresh.replace(self._path)
        return self._path.open("a")

    def _write(self, out: TextIO, group: str, topic: str, partition: int, committed: Committed) -> None:
        out.write(json.dumps([group, topic, partition, *committed]) + "\n")

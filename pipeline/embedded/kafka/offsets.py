"""Keep the offsets that consumer groups commit, in a journal."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.embedded.kafka.journal import Journal


class Committed(NamedTuple):
    """A committed offset and the note that came with it."""

    offset: int
    metadata: str


Place = tuple[str, int]


class Offsets:
    """The committed offsets of all groups: (topic, partition) to `Committed`, by group."""

    def __init__(self, path: Path) -> None:
        """Read the file, drop what was overwritten since, and open it for more; a last line cut by a crash is dropped."""
        self.of_group: dict[str, dict[Place, Committed]] = {}
        self._journal = Journal(path, self._snapshot)
        for group, topic, partition, offset, metadata in self._journal.lines():
            self.of_group.setdefault(group, {})[topic, partition] = Committed(offset, metadata)
        self._journal.rewrite()

    def commit(self, group: str, places: dict[Place, Committed]) -> None:
        """Keep offsets; they outlive the death of this process when this returns."""
        self._journal.append(_lines(group, places.items()))
        self.of_group.setdefault(group, {}).update(places)
        self._journal.trim()

    def forget_group(self, group: str) -> None:
        """Drop a group's offsets."""
        self.of_group.pop(group, None)
        self._journal.rewrite()

    def forget_topic(self, topic: str) -> None:
        """Drop a topic's offsets, so that a new topic of its name begins afresh."""
        for places in self.of_group.values():
            for place in [place for place in places if place[0] == topic]:
                del places[place]
        self._journal.rewrite()

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def _snapshot(self) -> Iterator[Any]:
        for group, places in self.of_group.items():
            yield from _lines(group, places.items())


def _lines(group: str, places: Iterable[tuple[Place, Committed]]) -> Iterator[Any]:
    for (topic, partition), committed in places:
        yield [group, topic, partition, *committed]

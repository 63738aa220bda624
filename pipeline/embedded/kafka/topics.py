"""Keep the topics: their settings in one JSON file, their partitions' logs beside it."""

import fcntl
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from pipeline.embedded.kafka.cleaning import clean
from pipeline.embedded.kafka.log import PartitionLog

PARTITIONS_MAX = 1_000
CLEANED_FROM_BYTES = 64 << 20
"""Smaller logs are cleaned only when the broker starts."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")

DEFAULTS = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "delete.retention.ms": "86400000",
    "max.message.bytes": "1048588",
    "message.timestamp.type": "CreateTime",
    "min.insync.replicas": "1",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "segment.bytes": "1073741824",
    "segment.ms": "604800000",
}
_POLICIES = frozenset({"delete", "compact", "compact,delete", "delete,compact"})
_NUMBERS = frozenset({"max.message.bytes", "retention.ms", "retention.bytes", "delete.retention.ms"})


class TopicError(ValueError):
    """A topic that cannot be made; `code` is `exists`, `name`, `partitions` or `config`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Topic:
    """One topic: its own settings (without the defaults) and its partitions."""

    def __init__(self, configs: dict[str, str], logs: list[PartitionLog]) -> None:
        """Take over open logs."""
        self.configs = configs
        self.logs = logs

    def config(self, name: str) -> str:
        """Return a setting, or its default."""
        return self.configs.get(name, DEFAULTS[name])


class Topics:
    """All topics of one folder; one process may have it open at a time."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, which is made when it is not there, and clean the logs.

        Raises:
            BlockingIOError: another broker has it open.

        """
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._lock: TextIO = (folder / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._index = folder / "topics.json"
        self.topics: dict[str, Topic] = {}
        known = json.loads(self._index.read_text()) if self._index.exists() else {}
        for name, entry in known.items():
            self.topics[name] = self._open(name, entry["partitions"], entry["configs"], cleaning=True)

    def create(self, name: str, partitions: int, configs: Mapping[str, str], *, validate_only: bool = False) -> None:
        """Make a topic; it is on disk when this returns.

        Raises:
            TopicError: it exists, or its name, its number of partitions or a setting is not allowed.

        """
        if name in self.topics:
            raise TopicError("exists", f"topic {name} exists already")
        if not _NAME.fullmatch(name) or name in {".", ".."}:
            raise TopicError("name", f"{name!r} is not a topic name")
        if not 1 <= partitions <= PARTITIONS_MAX:
            raise TopicError("partitions", f"{partitions} partitions; 1 to {PARTITIONS_MAX} are possible")
        check_configs(configs)
        if not validate_only:
            self.topics[name] = self._open(name, partitions, dict(configs), cleaning=False)
            self._save()

    def configure(self, name: str, configs: Mapping[str, str]) -> None:
        """Replace a topic's own settings; TopicError when one is not allowed."""
        check_configs(configs)
        self.topics[name].configs = dict(configs)
        self._save()

    def delete(self, name: str) -> None:
        """Delete a topic and its records."""
        topic = self.topics.pop(name)
        self._save()
        for number, log in enumerate(topic.logs):
            log.close()
            self._path(name, number).unlink()

    def clean_grown(self, size_bytes_min: int = CLEANED_FROM_BYTES) -> None:
        """Clean the logs that have doubled since they were opened or cleaned; a rewrite of 100 MB takes about a second."""
        for topic in self.topics.values():
            configs = {**DEFAULTS, **topic.configs}
            for log in topic.logs:
                if log.size_bytes > max(size_bytes_min, 2 * log.size_bytes_when_opened):
                    log.rewrite(lambda path, configs=configs: clean(path, configs))  # type: ignore[misc]

    def close(self) -> None:
        """Flush everything to the disk and close it."""
        for topic in self.topics.values():
            for log in topic.logs:
                log.close()
        self._lock.close()

    def _open(self, name: str, partitions: int, configs: dict[str, str], *, cleaning: bool) -> Topic:
        logs = []
        for number in range(partitions):
            path = self._path(name, number)
            if cleaning:
                clean(path, {**DEFAULTS, **configs})
            else:
                path.unlink(missing_ok=True)  # of a deleted topic, had the broker died then
            logs.append(PartitionLog(path))
        return Topic(configs, logs)

    def _path(self, name: str, number: int) -> Path:
        return self._logs / f"{name}-{number}.log"

    def _save(self) -> None:
        entries = {
            name: {"partitions": len(topic.logs), "configs": topic.configs} for name, topic in self.topics.items()
        }
        fresh = self._index.with_suffix(".new")
        with fresh.open("w") as out:
            json.dump(entries, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(self._index)


def check_configs(configs: Mapping[str, str]) -> None:
    """Raise TopicError for a setting whose value cannot be right; settings that have no meaning here are kept as told."""
    for name, value in configs.items():
        if name == "cleanup.policy" and value.replace(" ", "") not in _POLICIES:
            raise TopicError("config", f"{name} cannot be {value!r}")
        if name in _NUMBERS and not re.fullmatch(r"-?\d{1,18}", value):
            raise TopicError("config", f"{name} cannot be {value!r}: it is a number")

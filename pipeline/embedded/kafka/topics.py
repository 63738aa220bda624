"""Keep the topics: their settings in one JSON file, their partitions' logs beside it."""

import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from pipeline.embedded.kafka.cleaning import clean
from pipeline.embedded.kafka.log import ClosedError, PartitionLog

PARTITIONS_MAX = 1_000
CLEANED_FROM_BYTES = 16 << 20
"""Smaller logs are not cleaned, unless `segment.bytes` of their topic is smaller still, or `segment.ms` has passed."""
_DIRTY_RATIO_MAX = 0.95
_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")

DEFAULTS = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "delete.retention.ms": "86400000",
    "max.message.bytes": "1048588",
    "message.timestamp.type": "CreateTime",
    "min.cleanable.dirty.ratio": "0.5",
    "min.insync.replicas": "1",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "segment.bytes": "1073741824",
    "segment.ms": "604800000",
}
_POLICIES = frozenset({"delete", "compact", "compact,delete", "delete,compact"})
_NUMBERS = frozenset(
    {"max.message.bytes", "retention.ms", "retention.bytes", "delete.retention.ms", "segment.bytes", "segment.ms"}
)

logger = logging.getLogger("usage.broker")


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
        """Open the folder, which is made when it is not there, .

        Raises:
            BlockingIOError: another broker has it open.

        """
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._lock: TextIO = (folder / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._index, self._cleaned_path = folder / "topics.json", folder / "cleaned.json"
        self._cleaned: dict[str, int] = _load(self._cleaned_path)
        """The size of each log after it was last cleaned, in bytes."""
        self._opened_at = time.monotonic()
        self._cleaned_at: dict[str, float] = {}
        self.topics: dict[str, Topic] = {}
        for name, entry in _load(self._index).items():
            self.topics[name] = self._open(name, entry["partitions"], entry["configs"], fresh=False)

    def log(self, name: str, index: int) -> PartitionLog | None:
        """Return a partition; None when there is no such one."""
        topic = self.topics.get(name)
        return topic.logs[index] if topic is not None and 0 <= index < len(topic.logs) else None

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
            self.topics[name] = self._open(name, partitions, dict(configs), fresh=True)
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

    async def clean_grown(self) -> None:
        """Clean the logs that have grown enough since they were last cleaned, one after the other."""
        everything = [(name, number, log) for name, one in self.topics.items() for number, log in enumerate(one.logs)]
        for name, number, log in everything:
            topic, log_name = self.topics.get(name), f"{name}-{number}"
            if topic is None or log.closed or not self._is_due(topic, log_name, log.size_bytes):
                continue
            before = log.size_bytes
            try:
                await clean(log, {**DEFAULTS, **topic.configs})
            except ClosedError:
                continue
            self._cleaned[log_name], self._cleaned_at[log_name] = log.size_bytes, time.monotonic()
            _save(self._cleaned_path, self._cleaned)
            logger.debug("%s is cleaned: %d bytes of %d are left", log_name, log.size_bytes, before)

    def _is_due(self, topic: Topic, log_name: str, size: int) -> bool:
        """Tell whether a log is to be cleaned: Kafka's rule for a log of which a segment is complete, and dirty enough."""
        age_ms = 1000 * (time.monotonic() - self._cleaned_at.get(log_name, self._opened_at))
        complete = size >= min(CLEANED_FROM_BYTES, int(topic.config("segment.bytes")))
        clean_part = 1 - min(float(topic.config("min.cleanable.dirty.ratio")), _DIRTY_RATIO_MAX)
        dirty = size * clean_part > self._cleaned.get(log_name, 0)
        return dirty and (complete or age_ms > int(topic.config("segment.ms")))

    def close(self) -> None:
        """Flush everything to the disk and close it."""
        for topic in self.topics.values():
            for log in topic.logs:
                log.close()
        self._lock.close()

    def _open(self, name: str, partitions: int, configs: dict[str, str], *, fresh: bool) -> Topic:
        logs = []
        for number in range(partitions):
            path = self._path(name, number)
            if fresh:
                path.unlink(missing_ok=True)  # of a deleted topic, had the broker died then
                self._cleaned.pop(f"{name}-{number}", None)
            logs.append(PartitionLog(path))
        return Topic(configs, logs)

    def _path(self, name: str, number: int) -> Path:
        return self._logs / f"{name}-{number}.log"

    def _save(self) -> None:
        entries = {
            name: {"partitions": len(topic.logs), "configs": topic.configs} for name, topic in self.topics.items()
        }
        _save(self._index, entries)


def _load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _save(path: Path, content: object) -> None:
    """Write a JSON file, all or nothing."""
    fresh = path.with_suffix(".new")
    with fresh.open("w") as out:
        json.dump(content, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)


def check_configs(configs: Mapping[str, str]) -> None:
    """Raise TopicError for a setting whose value cannot be right; settings that have no meaning here are kept as told."""
    for name, value in configs.items():
        if name == "cleanup.policy" and value.replace(" ", "") not in _POLICIES:
            raise TopicError("config", f"{name} cannot be {value!r}")
        if name in _NUMBERS and not re.fullmatch(r"-?\d{1,18}", value):
            raise TopicError("config", f"{name} cannot be {value!r}: it is a number")
        if name == "min.cleanable.dirty.ratio" and not re.fullmatch(r"0(\.\d+)?|1(\.0+)?", value):
            raise TopicError("config", f"{name} cannot be {value!r}: it is from 0 to 1")

"""Watching processes from the outside: what a consumer group has done at each commit, and the CPU time used until then."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from bench.processes import cpu_s
from bench.report import spread
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments

STALLED_S_MAX = 60.0


class Sample(NamedTuple):
    """What was seen at a commit."""

    at_s: float
    done: int
    """Events or rows."""
    cpu_s: dict[str, float]
    """By process."""
    ended: bool
    """Whether some partition is through with its backlog."""
    all_ended: bool


class Backlog(NamedTuple):
    """What lies before a group."""

    topic: str
    ends: list[int]
    """By partition, the offset at which it is through."""
    done_at: Callable[[int, int], int]
    """Partition and committed offset to events or rows."""


Window = tuple[Sample, Sample]


async def samples_of(
    settings: Settings,
    group: str,
    backlog: Backlog,
    pids: Mapping[str, int],
    check: Callable[[], None],
    poll_s: float = 0.02,
) -> AsyncGenerator[Sample, None]:
    """Yield a sample at each commit of a group until all partitions are through.

    Raises TimeoutError when nothing is committed for long, and what `check` raises.
    """
    admin = AIOKafkaAdminClient(**kafka_arguments(settings))
    await admin.start()
    try:
        seen, seen_at_s = 0, time.monotonic()
        while True:
            sample = _sample(await admin.list_consumer_group_offsets(group), backlog, pids)
            if sample.done > seen:
                seen, seen_at_s = sample.done, sample.at_s
                yield sample
            if sample.all_ended:
                return
            if sample.at_s - seen_at_s > STALLED_S_MAX:
                raise TimeoutError(f"no commit of {group} for {STALLED_S_MAX:g} s, after {seen:,}")
            check()
            await asyncio.sleep(poll_s)
    finally:
        await admin.close()


def _sample(offsets: Mapping[TopicPartition, Any], backlog: Backlog, pids: Mapping[str, int]) -> Sample:
    places = [TopicPartition(backlog.topic, partition) for partition in range(len(backlog.ends))]
    committed = [max(0, offsets[place].offset) if place in offsets else 0 for place in places]
    through = [end <= offset for offset, end in zip(committed, backlog.ends, strict=True) if end > 0]
    done = sum(backlog.done_at(partition, offset) for partition, offset in enumerate(committed))
    used = {name: cpu_s(pid) for name, pid in pids.items()}
    return Sample(time.monotonic(), done, used, any(through), all(through))


def windows_of(samples: Sequence[Sample], window_s: float) -> list[Window]:
    """Return the first and last sample of each window of at least so many seconds, one after the other."""
    windows = []
    first = samples[0] if samples else None
    for sample in samples:
        if first is not None and sample.at_s - first.at_s >= window_s:
            windows.append((first, sample))
            first = sample
    return windows


def equal_windows(samples: Sequence[Sample], number: int) -> list[Window]:
    """Return so many windows of as equal numbers of events or rows as the commits allow, one after the other."""
    windows: list[Window] = []
    first, whole = samples[0], samples[-1].done - samples[0].done
    for sample in samples[1:]:
        if sample.done - samples[0].done >= (len(windows) + 1) * whole / number:
            windows.append((first, sample))
            first = sample
    return windows


def cpu_us(windows: Sequence[Window], *names: str) -> dict[str, Any]:
    """Return the CPU time of processes, together, for each event or row."""
    return spread([sum(b.cpu_s[name] - a.cpu_s[name] for name in names) / (b.done - a.done) * 1e6 for a, b in windows])


def throughput(windows: Sequence[Window]) -> dict[str, Any]:
    """Return events or rows a second of wall time."""
    return spread([(b.done - a.done) / (b.at_s - a.at_s) for a, b in windows], 0)

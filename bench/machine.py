"""What a measurement ran on."""

import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path

_STEPS = 200_000
_TIMES = 5


def describe() -> str:
    """Return the machine in one line: processor, cores, memory, versions, and how busy and fast it is at the moment."""
    processor = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        )
        if Path("/proc/cpuinfo").exists()
        else iter(()),
        platform.processor(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{processor}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, orjson {version('orjson')}, msgspec {version('msgspec')}, "
        f"load {os.getloadavg()[0]:.1f}, {_step_ns():.0f} ns a step of a plain loop"
    )


def _step_ns() -> float:
    """Return the CPU time of a step of plain Python, in nanoseconds: larger when others share the core and its caches."""
    found = []
    for _ in range(_TIMES):
        counts: dict[int, int] = {}
        began = time.process_time()
        for number in range(_STEPS):
            counts[number & 1023] = counts.get(number & 1023, 0) + number
        found.append((time.process_time() - began) / _STEPS * 1e9)
    return statistics.median(found)

"""What a measurement ran on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe() -> str:
    """Return the machine in one line: processor, cores, memory, Python and package versions."""
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
        f"Python {platform.python_version()}, orjson {version('orjson')}, msgspec {version('msgspec')}"
    )

"""A measured process, with all its threads and children: CPU time read from the outside."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

_TICKS_S = os.sysconf("SC_CLK_TCK")


class Process:
    """A process in a session of its own; what it prints goes to `log`."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env=os.environ | environment,
                start_new_session=True,
            )

    def ended(self) -> bool:
        """Tell whether it has ended by itself."""
        return self._process.poll() is not None

    def cpu_s(self) -> float:
        """Return the seconds of CPU that its session has used: user and system, threads, children living and ended."""
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == self._process.pid:
                ticks += sum(int(each) for each in fields[11:15])
        return ticks / _TICKS_S

    def tail(self) -> str:
        """Return the end of what it printed."""
        return self.log.read_text(errors="replace")[-1500:]

    def kill(self) -> None:
        """End its session, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

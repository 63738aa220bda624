"""Processes of the stack: started, killed, stopped and continued by the harness, which starts again what has died."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

DEATHS_MAX = 25
"""A process that ends this often by itself in one round is not started again: it will never recover."""
STOP_S_MAX = 25.0
STARTED = "--- started"
"""Stands in a process's log at each of its starts."""
_POLL_S = 0.03
_DIE_WITH_PARENT = (
    "import ctypes, os, sys; parent = int(sys.argv[1]); ctypes.CDLL(None).prctl(1, 9); "
    "os.getppid() == parent or os._exit(1); os.execvp(sys.argv[2], sys.argv[2:])"
)


def dying_with(parent: int, command: Sequence[str]) -> list[str]:
    """Return a command whose process the kernel kills when `parent` is gone: nothing is left behind (Linux)."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-S", "-c", _DIE_WITH_PARENT, str(parent), *command]


async def until(condition: Callable[[], object], what: str, patience_s: float) -> None:
    """Wait until a condition holds. Raises TimeoutError."""
    try:
        async with asyncio.timeout(patience_s):
            while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
                await asyncio.sleep(_POLL_S)
    except TimeoutError as late:
        raise TimeoutError(f"waited {patience_s:g} s for {what}") from late


class Kept:
    """A process that is started again, after a pause, whenever it ends, until it is stopped."""

    def __init__(
        self, name: str, command: Sequence[str], environment: dict[str, str], log: Path, pause_s: Callable[[], float]
    ) -> None:
        self.name = name
        self.log_path = log
        self.deaths = 0
        """How often it ended by itself, with an exit code of its own."""
        self.killed = 0
        """How often a signal ended it."""
        self.stopped = False
        """Frozen by SIGSTOP."""
        self._command = command
        self._environment = environment
        self._pause_s = pause_s
        self._process: asyncio.subprocess.Process | None = None
        self._wanted = True
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> "Kept":
        """Start it, and keep it running."""
        self._keeper = asyncio.create_task(self._keep(), name=self.name)
        return self

    @property
    def pid(self) -> int | None:
        """Return its process id; None while it is down."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    def send(self, number: signal.Signals) -> bool:
        """Send a signal and tell whether there was a process to take it."""
        if self.pid is None or self._process is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        self.stopped = {signal.SIGSTOP: True, signal.SIGCONT: False}.get(number, self.stopped)
        return True

    def log(self) -> str:
        """Return what it has logged."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def logged(self, words: str) -> int:
        """Return how often it has logged these words."""
        return self.log().count(words)

    async def stop(self) -> None:
        """Send SIGTERM, SIGKILL when that does not help; return when it is gone for good."""
        self._wanted = False
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        await self._gone(STOP_S_MAX)

    async def kill(self) -> None:
        """Send SIGKILL and return when it is gone for good."""
        self._wanted = False
        self.send(signal.SIGKILL)
        await self._gone(STOP_S_MAX)

    async def _gone(self, patience_s: float) -> None:
        if self._keeper is None:
            return
        if self.pid is None:
            self._keeper.cancel()
        done, _ = await asyncio.wait({self._keeper}, timeout=patience_s)
        if not done:
            self.send(signal.SIGKILL)
            await asyncio.wait({self._keeper})

    async def _keep(self) -> None:
        while self._wanted and self.deaths < DEATHS_MAX:
            with self.log_path.open("ab") as log:
                log.write(f"{STARTED}\n".encode())
                log.flush()
                self._process = await asyncio.create_subprocess_exec(
                    *dying_with(os.getpid(), self._command),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,
                )
            if not self._wanted:  # stopped while it was being made
                self.send(signal.SIGKILL)
            code = await self._process.wait()
            self.stopped = False
            if not self._wanted:
                return
            if code < 0:
                self.killed += 1
            else:
                self.deaths += 1
            await asyncio.sleep(self._pause_s())

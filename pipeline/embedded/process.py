"""One supervised child process: started, its log passed on, started again when it dies."""

import asyncio
import contextlib
import ctypes
import functools
import os
import signal
import time
from collections.abc import Callable, Sequence

_PR_SET_PDEATHSIG = 1
_PAUSE_FIRST_S = 0.2
_PAUSE_MAX_S = 5.0
_STEADY_S = 30.0
_LINE_BYTES_MAX = 1 << 20
DEATHS_MAX = 5
"""A process that fails this often without ever running for 30 s is given up on; being killed does not count."""
_LIBC = ctypes.CDLL(None)


class GaveUp(Exception):  # noqa: N818 - says what happened
    """A child process keeps dying."""


class ChildProcess:
    """A named process that runs until it is stopped; it keeps the file descriptor `lock` open as long as it lives."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: dict[str, str],
        log: Callable[[str, str], None],
        stop_timeout_s: float,
        lock: int,
    ) -> None:
        self.name = name
        self._lock = lock
        self._command = command
        self._environment = environment
        self._log = log
        self._stop_timeout_s = stop_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._last_line = "it printed nothing"
        self._supervisor: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[None]":
        """Start it; the task ends when the process was stopped, or raises GaveUp."""
        self._supervisor = asyncio.create_task(self._supervise(), name=f"supervise {self.name}")
        return self._supervisor

    async def stop(self) -> None:
        """Send SIGTERM, and SIGKILL if it is still there after its time; return when it is gone."""
        self._stopping = True
        if self._supervisor is None:
            return
        self._send(signal.SIGTERM)
        done, _ = await asyncio.wait({self._supervisor}, timeout=self._stop_timeout_s)
        if not done:
            self._log(self.name, f"did not stop within {self._stop_timeout_s:g} s, is killed")
            self._send(signal.SIGKILL)
            await asyncio.wait({self._supervisor}, timeout=self._stop_timeout_s)
        self._supervisor.cancel()
        await asyncio.gather(self._supervisor, return_exceptions=True)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                self._process.send_signal(number)

    async def _supervise(self) -> None:
        pause_s = _PAUSE_FIRST_S
        deaths = 0
        while not self._stopping:
            began = time.monotonic()
            code = await self._run()
            if self._stopping:
                return
            if code < 0 or time.monotonic() - began > _STEADY_S:  # killed by somebody, or fine until now
                pause_s, deaths = _PAUSE_FIRST_S, 0
            deaths += 1
            if deaths > DEATHS_MAX:
                raise GaveUp(
                    f"{self.name} ended {deaths} times in a row, last with exit code {code}: {self._last_line}"
                )
            self._log(self.name, f"ended with exit code {code}, is started again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)

    async def _run(self) -> int:
        """Run it once; in a session of its own, so that Ctrl-C reaches only us and we stop things in order."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LINE_BYTES_MAX,
            env=self._environment,
            start_new_session=True,
            pass_fds=(self._lock,),  # held until the last process of the stack is gone
            preexec_fn=functools.partial(_die_with_parent, os.getpid()) if os.uname().sysname == "Linux" else None,
        )
        assert self._process.stdout is not None
        if self._stopping:  # asked to stop while the process was being made
            self._send(signal.SIGTERM)
        await self._pass_on(self._process.stdout)
        return await self._process.wait()

    async def _pass_on(self, output: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await output.readline()
            except ValueError:
                self._log(self.name, f"(a line of more than {_LINE_BYTES_MAX} bytes is left out)")
                continue
            if not line:
                return
            self._last_line = line.decode(errors="replace").rstrip()
            self._log(self.name, self._last_line)


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its supervisor is killed: nothing is left running, nothing is lost."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed just before
        os._exit(1)

"""A supervised child process, tried on little programs."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from pipeline.embedded.process import DEATHS_MAX, ChildProcess, GaveUp

pytestmark = pytest.mark.asyncio
TIMEOUT_S = 30


class Tried:
    """Child processes with what they logged."""

    def __init__(self, lock: int) -> None:
        self._lock = lock
        self.lines: list[str] = []
        self.logged = asyncio.Event()
        self.children: list[ChildProcess] = []

    def start(self, program: str, stop_timeout_s: float = 5) -> "tuple[ChildProcess, asyncio.Task[None]]":
        command = [sys.executable, "-u", "-c", program]
        child = ChildProcess("child", command, dict(os.environ), self._log, stop_timeout_s, self._lock)
        self.children.append(child)
        return child, child.start()

    def _log(self, _: str, line: str) -> None:
        self.lines.append(line)
        self.logged.set()

    async def until(self, holds: Callable[[list[str]], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not holds(self.lines):
                self.logged.clear()
                await self.logged.wait()


@pytest_asyncio.fixture
async def tried() -> AsyncIterator[Tried]:
    with tempfile.TemporaryFile() as lock:
        tried = Tried(lock.fileno())
        yield tried
        for child in tried.children:
            await child.stop()


async def test_a_killed_process_is_started_again_however_often(tried: Tried) -> None:
    """Being killed is nobody's fault: the process comes back more often than one that fails would."""
    tried.start("import os, time; print('pid', os.getpid()); time.sleep(60)")

    for number in range(1, DEATHS_MAX + 3):
        await tried.until(lambda lines, number=number: sum(line.startswith("pid") for line in lines) == number)
        os.kill(int([line for line in tried.lines if line.startswith("pid")][-1].split()[1]), signal.SIGKILL)

    await tried.until(lambda lines: sum(line.startswith("pid") for line in lines) == DEATHS_MAX + 3)


async def test_a_process_that_keeps_failing_is_given_up_with_its_last_words(tried: Tried) -> None:
    """The error has the exit code and the last line, which says why."""
    _, supervisor = tried.start("import sys; print('no such catalog'); sys.exit(3)")

    with pytest.raises(GaveUp, match=r"exit code 3: no such catalog"):
        await asyncio.wait_for(supervisor, TIMEOUT_S)


async def test_stopping_waits_until_the_process_has_ended(tried: Tried) -> None:
    """What the process still does after SIGTERM is done when `stop` returns."""
    child, supervisor = tried.start(
        "import signal, sys, time\n"
        "def stop(*_):\n    time.sleep(0.5); print('saved'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop); print('up'); time.sleep(60)"
    )
    await tried.until(lambda lines: lines == ["up"])

    await child.stop()

    assert tried.lines == ["up", "saved"]
    assert supervisor.done()


async def test_a_process_that_does_not_stop_is_killed(tried: Tried) -> None:
    """SIGKILL comes when the time after SIGTERM is over."""
    child, supervisor = tried.start(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)", 0.3
    )
    await tried.until(lambda lines: lines == ["up"])

    await child.stop()

    assert supervisor.done()
    assert "is killed" in tried.lines[-1]


async def test_a_line_without_end_does_not_end_the_supervisor(tried: Tried) -> None:
    """A line that is too long is left out, and what follows is passed on."""
    tried.start("print('x' * 3_000_000); print('after'); import time; time.sleep(60)")

    await tried.until(lambda lines: "after" in lines)

    assert any("left out" in line for line in tried.lines)

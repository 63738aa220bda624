"""Starting and stopping the stack, in order and not."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import RunningStack

CATALOG = Path(__file__).resolve().parents[2] / "schemas" / "examples" / "catalog.yaml"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[RunningStack]:
    running = RunningStack(tmp_path, CATALOG)
    yield running
    running.kill()


def processes_on(folder: Path) -> list[str]:
    """Return the command lines that name a folder, of all processes but this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended just now
            continue
        if str(folder) in command and entry.parent.name != str(os.getpid()):
            found.append(command)
    return found


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_nothing_is_left_running_after_a_stop_nor_in_the_way_after_a_kill(stack: RunningStack) -> None:
    """Killed, the stack starts again on its folder at once; stopped, it ends in order and leaves nothing running."""
    stack.start()
    assert stack.process is not None
    stack.process.kill()
    stack.process.wait()
    (stack.folder / "ready.json").unlink()

    stack.start()
    assert stack.stop() == 0, stack.log()

    ended = [line.split("|")[0].strip() for line in stack.log().splitlines() if " stopped" in line]
    assert (set(ended[:3]), set(ended[3:5]), ended[5:]) == (
        {"worker-1", "sink", "api"},
        {"kafka", "clickhouse"},
        ["up"],
    )
    assert processes_on(stack.folder) == []
    assert not (stack.folder / "ready.json").exists()

"""Real processes that emit: killed, forked, at their end, several on one folder."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.sdk import UsageClient
from tests.sdk.collector import KEY, Answer, Collector
from tests.sdk.support import QUICK, segments, until

Start = Callable[[str, Path, str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start hosts, which are killed at the test's end."""
    with ExitStack() as stack:

        def start(url: str, spool: Path, what: str) -> "subprocess.Popen[str]":
            process = stack.enter_context(
                subprocess.Popen(command_of(url, spool, what), stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            return process

        yield start


def command_of(url: str, spool: Path, what: str) -> list[str]:
    return [sys.executable, "-m", "tests.sdk.host", url, str(spool), what]


def lines_until_spooled(process: "subprocess.Popen[str]") -> list[str]:
    """Return the ids that a host prints until it says that all is on disk."""
    assert process.stdout is not None
    return [line.strip() for line in iter(process.stdout.readline, "spooled\n")]


def output_of(url: str, spool: Path, what: str) -> list[str]:
    """Return the ids that a host prints until its end."""
    return subprocess.run(
        command_of(url, spool, what), stdout=subprocess.PIPE, text=True, check=True, timeout=60
    ).stdout.split()


def test_importing_it_loads_nothing_heavy() -> None:
    """The SDK's import loads none of the stack's libraries: beyond the standard library, only msgspec."""
    code = "import sys; before = {*sys.modules}; import pipeline.sdk; print(*{*sys.modules} - before)"
    names = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    loaded = {name.partition(".")[0] for name in names}

    assert loaded - sys.stdlib_module_names == {"pipeline", "msgspec", "typing_extensions"}  # the last by msgspec
    assert not loaded & {"asyncio", "multiprocessing", "ssl"}


def test_a_host_that_ends_without_a_word_loses_nothing(collector: Collector, tmp_path: Path) -> None:
    """What was emitted right before the interpreter's end is sent at its end."""
    ids = output_of(collector.url, tmp_path, "and_exit")

    assert sorted(collector.accepted) == sorted(ids)
    assert segments(tmp_path) == []


def test_the_end_of_a_host_waits_seconds_at_most(collector: Collector, tmp_path: Path) -> None:
    """A collector that hangs does not keep the process alive; the events are on disk for the next one."""
    collector.answers.append(Answer(202, after_s=30.0))
    began = time.monotonic()

    ids = output_of(collector.url, tmp_path, "and_exit")

    assert time.monotonic() - began < 15
    assert b"".join(path.read_bytes() for path in segments(tmp_path)).count(b'"id"') == len(ids)


def drain(url: str, spool: Path) -> None:
    """Be the next process, which emits nothing itself, until nothing is left."""
    with UsageClient(url, key=KEY, deployment="d", customer="c", environment="e", spool=spool, limits=QUICK):
        until(lambda: not segments(spool))


def test_what_a_killed_process_has_spooled_is_sent_by_the_next_one(
    collector: Collector, tmp_path: Path, start: Start
) -> None:
    """SIGKILL: every event on disk arrives, once, by a process that emits nothing itself."""
    collector.away = True
    process = start(collector.url, tmp_path, "spooled")
    ids = lines_until_spooled(process)
    process.kill()
    process.communicate()
    collector.away = False

    drain(collector.url, tmp_path)

    assert sorted(collector.accepted) == sorted(ids)


@pytest.mark.parametrize("kills", range(3))
def test_killed_amid_emitting_no_event_is_counted_twice(
    collector: Collector, tmp_path: Path, start: Start, kills: int
) -> None:
    """SIGKILL at any moment, the collector coming and going: each id is one that was emitted; none is made anew."""
    process = start(collector.url, tmp_path, "for_ever")
    assert process.stdout is not None
    ids = [process.stdout.readline().strip() for _ in range(50)]
    collector.away = True
    ids += [process.stdout.readline().strip() for _ in range(100 + 37 * kills)]
    collector.away = kills == 1
    until(lambda: segments(tmp_path) or kills != 1)
    process.kill()
    ids += process.communicate()[0].split()
    collector.away = False
    on_disk = {id_in(line) for path in segments(tmp_path) for line in path.read_bytes().splitlines()[:-1]}

    drain(collector.url, tmp_path)

    assert set(collector.accepted) <= {*ids, *on_disk}
    assert on_disk <= set(collector.accepted)


def id_in(line: bytes) -> str:
    """Return the id in a line of a segment."""
    return str(json.loads(line.partition(b" ")[2])["id"])


def test_two_processes_on_one_folder_do_not_harm_each_other(collector: Collector, tmp_path: Path, start: Start) -> None:
    """While both live, and when one is killed and the other goes on with what it had, each event arrives once."""
    collector.away = True
    processes = [start(collector.url, tmp_path, "spooled") for _ in range(2)]
    ids = [each for process in processes for each in lines_until_spooled(process)]
    processes[0].kill()
    processes[0].wait()
    collector.away = False

    with UsageClient(
        collector.url, key=KEY, deployment="d", customer="c", environment="e", spool=tmp_path, limits=QUICK
    ):
        until(lambda: len(collector.accepted) >= len(ids))

    assert sorted(collector.accepted) == sorted(ids)


def test_a_fork_shares_nothing(collector: Collector, tmp_path: Path) -> None:
    """After a fork amid emitting threads both sides go on, and what the parent had is sent by the parent alone."""
    ids = output_of(collector.url, tmp_path, "forked")

    assert len(ids) == 2 * 30 + 2 * 30
    assert sorted(collector.accepted) == sorted(ids)
    assert segments(tmp_path) == []


def test_a_fork_while_the_collector_is_away_shares_nothing(collector: Collector, tmp_path: Path) -> None:
    """Each side has a spool of its own, and the next process goes on with both."""
    collector.away = True
    ids = output_of(collector.url, tmp_path, "forked")
    collector.away = False

    drain(collector.url, tmp_path)

    assert sorted(collector.accepted) == sorted(ids)


def test_a_child_of_multiprocessing_sends_at_its_end(collector: Collector, tmp_path: Path) -> None:
    """Such children end without the interpreter's exit handlers, and lose nothing all the same."""
    ids = output_of(collector.url, tmp_path, "with_multiprocessing")

    assert sorted(collector.accepted) == sorted(ids)
    assert len(ids) == 10


def test_threads_share_a_client(collector: Collector, tmp_path: Path) -> None:
    """Events of several threads arrive, each once."""
    ids = output_of(collector.url, tmp_path, "in_threads")

    assert sorted(collector.accepted) == sorted(ids)
    assert len(ids) == 800

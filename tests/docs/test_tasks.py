"""The commands of docs/tasks run as they stand there, and print what it says."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.catalog import load_catalog
from pipeline.embedded.demo import feed
from pipeline.embedded.demo_usage import make_calls, usage_of
from pipeline.embedded.drain import wait_drained
from pipeline.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
CATALOG = ROOT / "schemas" / "examples" / "catalog.yaml"
TASKS = sorted((ROOT / "docs" / "tasks").glob("*.md"))
MONTHS = (datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))
START_S_MAX = 90
RUN_S_MAX = 120
_BLOCK = re.compile(r"```(sh|text)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a folder and an environment in which `usage` reaches a running stack with two months of usage."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "schemas").symlink_to(ROOT / "schemas")
    ready = folder / "ready.json"
    options = ["--data", folder / "data", "--catalog", CATALOG, "--ready-file", ready]
    ports = [option for name in ("kafka", "clickhouse", "api") for option in (f"--{name}-port", "0")]
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen([sys.executable, "-m", "pipeline", "up", *options, *ports], stdout=log, stderr=log)
    try:
        asyncio.run(_until(ready.exists))
        reach = json.loads(ready.read_text())
        settings = load_settings(kafka=reach["kafka"], clickhouse=reach["clickhouse"])
        asyncio.run(_feed(settings))
        yield (
            folder,
            {
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "USAGE_KAFKA": reach["kafka"],
                "USAGE_CLICKHOUSE": reach["clickhouse"],
                "USAGE_API": reach["api"],
                "COLUMNS": "160",
            },
        )
    finally:
        up.terminate()
        up.wait(60)


async def _until(condition) -> None:
    async with asyncio.timeout(START_S_MAX):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.1)


async def _feed(settings: Settings) -> None:
    catalog = load_catalog(CATALOG)
    for seed, month in enumerate(MONTHS, start=1):
        await feed(settings, usage_of(catalog, make_calls(seed, month), seed))
    await wait_drained(settings, RUN_S_MAX, lambda _: None)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_the_commands_of_a_task_work(shell: tuple[Path, dict[str, str]], path: Path) -> None:
    """Run in one shell, stopping at the first failure; each line of expected output is there, dots standing for anything."""
    folder, environment = shell
    blocks = _BLOCK.findall(path.read_text())
    script = "\n".join(text for kind, text in blocks if kind == "sh")

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=RUN_S_MAX,
    )

    out = done.stdout.decode()
    assert done.returncode == 0, out + done.stderr.decode()
    for line in "".join(text for kind, text in blocks if kind == "text").splitlines():
        pattern = ".*".join(re.escape(part.rstrip()) for part in line.split("..."))
        assert re.search(pattern, out), f"{line!r} is not in:\n{out}"

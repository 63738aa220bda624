"""The API against its own description, by requests that schemathesis makes up."""

import os
import subprocess
import sys
from pathlib import Path

from tests.api.support import RunningApi

ROOT = Path(__file__).parents[2]
SCHEMATHESIS = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"


def schemathesis_run(api: RunningApi, folder: Path, *options: str) -> str:
    """Run schemathesis with all its checks, as anybody would, and return its report, in which nothing is found."""
    command = [sys.executable, "-c", SCHEMATHESIS, "run", f"{api.url}/openapi.json", "--no-color", *options]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment, cwd=folder, check=False)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr
    return run.stdout


def test_the_description_holds(api: RunningApi, tokens: dict[str, str], tmp_path: Path) -> None:
    """Valid requests are not called invalid, invalid ones are refused, and every answer is as it is described."""
    key = f"Authorization: Bearer {tokens['operator']}"

    report = schemathesis_run(api, tmp_path, "--max-examples", "5", "--header", key)

    assert "failure" not in report
    assert f"{len(api.app.openapi()['paths'])} total" in report


def test_the_description_holds_for_strangers(api: RunningApi, tmp_path: Path) -> None:
    """Without a key the refusals are as they are described too."""
    report = schemathesis_run(api, tmp_path, "--max-examples", "3", "--phases", "fuzzing")

    assert "returned only 401/403 responses" in report

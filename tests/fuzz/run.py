"""`make fuzz`: fuzz targets one after the other, guided by coverage, and say what came of it.

`python -m tests.fuzz.run [--seconds N] [--target NAME]...`; with `--input FILE` it runs one input and shows its error.
"""

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from tests.fuzz.targets import TARGETS

FOLDER = Path(".fuzz")
"""Git ignores it: the corpus, which grows from run to run, and what was found."""
REGRESSIONS = Path(__file__).parent / "regressions"
INPUT_S_MAX = 20
MEMORY_MB_MAX = 3000
NO_ATHERIS = """\
make fuzz needs atheris (libFuzzer for Python), and there is no wheel of it for this Python and platform.
The property tests do without it: .venv/bin/pytest tests/fuzz tests/codec/test_fuzz.py"""
CANNOT = 2


def write_seeds(name: str, corpus: Path) -> None:
    """Write a target's seeds and kept regressions into its corpus."""
    corpus.mkdir(parents=True, exist_ok=True)
    kept = [path.read_bytes() for path in REGRESSIONS.glob(f"{name}-*")]
    for seed in TARGETS[name].seeds() + kept:
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)


def fuzz(name: str, seconds: int, seed: int) -> dict[str, Any]:
    """Fuzz a target in a process of its own; return its statistics."""
    corpus, found = FOLDER / "corpus" / name, FOLDER / "found"
    write_seeds(name, corpus)
    found.mkdir(parents=True, exist_ok=True)
    before = set(found.glob(f"{name}-*"))
    statistics, log = FOLDER / f"{name}.json", FOLDER / f"{name}.log"
    statistics.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.engine", name, str(statistics), str(corpus)]
    command += [f"-max_total_time={seconds}", f"-artifact_prefix={found}/{name}-", "-print_final_stats=1"]
    command += [f"-timeout={INPUT_S_MAX}", f"-rss_limit_mb={MEMORY_MB_MAX}", f"-seed={seed}"]
    with log.open("wb") as output:
        code = subprocess.run(command, stdout=output, stderr=output, check=False).returncode
    text = log.read_text(errors="replace")
    executed = re.findall(r"stat::number_of_executed_units:\s+(\d+)", text) or re.findall(r"#(\d+)\s", text)
    covered = re.findall(r"cov: (\d+) ft: (\d+)", text)
    return {
        "counts": json.loads(statistics.read_text()) if statistics.exists() else {},
        "executions": int(executed[-1]) if executed else 0,
        "coverage": covered[-1] if covered else ("0", "0"),
        "found": sorted(set(found.glob(f"{name}-*")) - before),
        "code": code,
        "log": log,
    }


def report(name: str, seconds: int, result: dict[str, Any]) -> bool:
    """Print what came of a target; return whether all was well."""
    counts = dict(result["counts"])
    counts.pop("executions", 0)
    branches, features = result["coverage"]
    rate = result["executions"] // max(seconds, 1)
    click.echo(f"{name}: {result['executions']} executions ({rate}/s), {branches} branches, {features} features")
    for what, count in sorted(counts.items(), key=lambda item: -item[1]):
        click.echo(f"    {count:>10} {what}")
    for path in result["found"]:
        click.echo(f"  FOUND {path}: reproduce it with\n    make fuzz TARGET={name} INPUT={path}")
        click.echo(f"  once mended, keep it: cp {path} {REGRESSIONS.relative_to(Path.cwd())}/{name}-WHAT-IT-WAS")
    if result["code"] and not result["found"]:
        click.echo(f"  the fuzzer ended with {result['code']}: see {result['log']}")
    return result["code"] == 0 and not result["found"]


@click.command()
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True, help="for each target")
@click.option("--target", "names", type=click.Choice(list(TARGETS)), multiple=True, help="default: each in turn")
@click.option("--seed", type=int, default=0, help="of the fuzzer; 0: another one each time")
@click.option("--input", "one_input", type=click.Path(path_type=Path, exists=True), help="run this input only")
@click.option("--fresh", is_flag=True, help="begin from the seeds, not from the corpus of earlier runs")
def main(seconds: int, names: tuple[str, ...], seed: int, one_input: Path | None, fresh: bool) -> None:
    """Feed malformed input to the decoders and the agent; everything must end as a line, a duplicate or a reject."""
    if one_input is not None:
        if not names:
            raise click.UsageError("--input needs --target (make fuzz TARGET=... INPUT=...)")
        for name in names:
            click.echo(dict(TARGETS[name].run(one_input.read_bytes())))
        return
    if importlib.util.find_spec("atheris") is None:
        click.echo(NO_ATHERIS, err=True)
        sys.exit(CANNOT)
    well = True
    for name in names or list(TARGETS):
        if fresh:
            shutil.rmtree(FOLDER / "corpus" / name, ignore_errors=True)
        well &= report(name, seconds, fuzz(name, seconds, seed))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()

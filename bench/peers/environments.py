"""Each peer's own environment below `.bench/`, made when it is missing: pinned wheels from PyPI, pinned jars from Maven."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.fixtures.fetch_kafka import FetchError, Jar, download, java_fault

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
HOME = ROOT / ".bench"
JAVA_SOURCES = HERE / "kafka_streams"


class EnvironmentMissingError(Exception):
    """An environment cannot be made here; the message says why."""


@cache
def python_of(name: str) -> Path:
    """Return the Python that has what `requirements/<name>.txt` lists. Raises EnvironmentMissingError."""
    listed = HERE / "requirements" / f"{name}.txt"
    home = HOME / name
    mark = home / "installed.txt"
    if not mark.is_file() or mark.read_text() != listed.read_text():
        uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
        _run([uv, "venv", "--quiet", "--clear", "--python", "3.11", str(home)])
        _run([uv, "pip", "install", "--quiet", "--no-deps", "--python", str(home / "bin/python"), "-r", str(listed)])
        shutil.copy(listed, mark)
    return home / "bin" / "python"


@cache
def java_class_path() -> str:
    """Return the class path of the compiled Kafka Streams peer. Raises EnvironmentMissingError."""
    if fault := java_fault():
        raise EnvironmentMissingError(fault)
    if shutil.which("javac") is None:
        raise EnvironmentMissingError("no javac here: Debian's openjdk-17-jdk-headless has it")
    home = HOME / "kafka_streams"
    (home / "lib").mkdir(parents=True, exist_ok=True)
    lines = (JAVA_SOURCES / "streams.jars").read_text().splitlines()
    jars = [Jar(*line.split()) for line in lines if not line.startswith("#")]
    try:
        for jar in jars:
            if not jar.is_at(home):
                download(jar, home)
    except FetchError as failure:
        raise EnvironmentMissingError(str(failure)) from failure
    path = ":".join(str(jar.at(home)) for jar in jars)
    _run(["javac", "-cp", path, "-d", str(home / "classes"), *map(str, JAVA_SOURCES.glob("*.java"))])
    return f"{home / 'classes'}:{path}"


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as fault:
        raise EnvironmentMissingError(f"{command[0]}: {fault}") from fault
    if done.returncode:
        raise EnvironmentMissingError(f"{' '.join(command[:3])}...: {done.stderr[-800:]}")

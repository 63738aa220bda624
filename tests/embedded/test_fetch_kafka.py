"""`make kafka` against a Maven repository of the test's own: what is fetched, what is refused, and what is said."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.fixtures import fetch_kafka
from tests.fixtures.fetch_kafka import FetchError, Jar, fetch
from tests.fixtures.servers import free_port

CONTENT = b"a jar"
JAR = Jar(hashlib.sha256(CONTENT).hexdigest(), "org/example/a/1/a-1.jar")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def pretend_to_format(home: Path) -> None:
    (home / "formatted").mkdir()
    (home / "formatted" / "meta.properties").touch()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a folder as the Maven repository, of which one jar is wanted; nothing needs Java."""
    folder = tmp_path / "repository"
    (folder / JAR.path).parent.mkdir(parents=True)
    (folder / JAR.path).write_bytes(CONTENT)
    monkeypatch.setattr(fetch_kafka, "jars", lambda: [JAR])
    monkeypatch.setattr(fetch_kafka, "java_fault", lambda: None)
    monkeypatch.setattr(fetch_kafka, "_ATTEMPTS", 1)
    monkeypatch.setattr(fetch_kafka, "_format", pretend_to_format)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MAVEN_URL", f"http://127.0.0.1:{server.server_port}/")
        yield folder
        server.shutdown()


@pytest.mark.usefixtures("repository")
def test_only_what_is_missing_or_damaged_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A first call fetches, a second one finds all there and asks nobody, and a file that was damaged is fetched again."""
    home = tmp_path / "home"

    first = fetch(home)
    with monkeypatch.context() as away:
        away.setenv("MAVEN_URL", f"http://127.0.0.1:{free_port()}")
        second = fetch(home)
    JAR.at(home).write_bytes(CONTENT[:3])
    third = fetch(home)

    assert (first, second, third) == (1, 0, 1)
    assert [path.read_bytes() for path in (home / "lib").iterdir()] == [CONTENT]


def test_another_file_than_the_pinned_one_is_refused(repository: Path, tmp_path: Path):
    """A file with another checksum is not kept, and the message names it."""
    (repository / JAR.path).write_bytes(b"something else")

    with pytest.raises(FetchError, match=r"a-1\.jar is not the file"):
        fetch(tmp_path / "home")

    assert list((tmp_path / "home" / "lib").iterdir()) == []


@pytest.mark.usefixtures("repository")
def test_a_repository_out_of_reach_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """When nobody answers, the message has the address and the settings that may help."""
    monkeypatch.setenv("MAVEN_URL", address := f"http://127.0.0.1:{free_port()}")

    with pytest.raises(FetchError, match=rf"{address}/{JAR.path}.*HTTPS_PROXY.*MAVEN_URL"):
        fetch(tmp_path / "home")


@pytest.mark.parametrize(
    ("said", "fault"),
    [('openjdk version "17.0.15" 2025-04-15', None), ('java version "1.8.0_421"', "1.8.0_421"), ("no idea", "no idea")],
)
def test_java_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, fault: str | None):
    """Java 17 will do; an older one, or what is no Java, is told with what it says of itself."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    found = fetch_kafka.java_fault.__wrapped__()

    assert found is None if fault is None else fault in found

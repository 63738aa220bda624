"""What is deployed names only what exists; a real Docker engine is not needed for that."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli import _COMMANDS
from pipeline.codec.records import decode_events, decode_grant
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from pipeline.settings import Settings
from pipeline.stream.topics import load_topics

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "schemas" / "examples"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_compose_sets_only_settings_that_exist(compose: dict[str, Any]) -> None:
    """Every USAGE_* variable of our services is a setting."""
    names = {f"USAGE_{name.upper()}" for name in Settings.model_fields}

    for service in compose["services"].values():
        assert {name for name in service.get("environment", {}) if name.startswith("USAGE_")} <= names


def test_compose_runs_only_commands_that_exist(compose: dict[str, Any]) -> None:
    """Every service of our image runs a command of `usage`."""
    ours = [service for service in compose["services"].values() if "build" in service]

    assert {service["command"][0] for service in ours} == {"topics", "migrate", "worker", "sink", "api", "alerts"}
    assert {service["command"][0] for service in ours} <= set(_COMMANDS)


def test_compose_pins_versions_and_listens_on_loopback_only(compose: dict[str, Any]) -> None:
    """Foreign images have a version, and no port is open to the network."""
    for service in compose["services"].values():
        assert "build" in service or re.search(r":v?\d", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_compose_lets_kafka_carry_what_our_topics_allow(compose: dict[str, Any]) -> None:
    """The broker's limit is not below the largest record of any topic."""
    broker = int(compose["services"]["kafka"]["environment"]["KAFKA_MESSAGE_MAX_BYTES"])

    assert broker >= max(int(topic.config.get("max.message.bytes", 0)) for topic in load_topics())


@pytest.mark.rule("R2.1", "R2.2", "R2.5")
@pytest.mark.parametrize(
    "path",
    [path for topic in (EVENTS_TOPIC, GRANTS_TOPIC) for path in sorted((EXAMPLES / topic).glob("*.json"))],
    ids=lambda path: path.name,
)
def test_examples_are_what_they_show(path: Path) -> None:
    """Every example of a topic is accepted by what reads that topic."""
    topic = path.parent.name
    record = Record(topic, 0, 0, 1_793_700_000_000, b"acme", path.read_bytes())

    if topic == EVENTS_TOPIC:
        events = decode_events(record)
        assert events
        assert not any(isinstance(event, Rejected) for event in events), events
    else:
        assert topic == GRANTS_TOPIC
        assert decode_grant(record).id == json.loads(path.read_text())["id"]


@pytest.mark.parametrize("document", ["README.md", "docs/operating.md"])
def test_documents_name_only_commands_and_files_that_exist(document: str) -> None:
    """Every `usage` command and every linked or named file of the documents is there."""
    text = (ROOT / document).read_text()

    commands = set(re.findall(r"`(?:\.venv/bin/)?usage ([a-z-]+)", text)) | set(
        re.findall(r"^\.venv/bin/usage ([a-z-]+)", text, re.MULTILINE)
    )
    files = re.findall(r"\]\(([^)#:]+)\)", text)
    assert commands
    assert commands <= set(_COMMANDS)
    assert all((ROOT / document).parent.joinpath(file).exists() for file in files)

"""The example of Kafka ACLs gives rights to what exists, and to direct producers next to none."""

import shlex
import subprocess
from pathlib import Path

from pipeline.cli import payouts_make
from pipeline.intake import dead_letter_replay, imports
from pipeline.published.publish import _TRANSACTIONAL_ID as PUBLISH_ID
from pipeline.settings import Settings
from pipeline.stream.topics import TOPICS

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "kafka-acls.sh"


def test_the_example_names_what_there_is() -> None:
    """Topics, groups and transactional ids are ours; a deployment may write events and do nothing else."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "KAFKA": "broker:9093",
        "CONFIG": "admin.properties",
        "DEPLOYMENTS": "User:dep",
    }
    done = subprocess.run(["sh", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    rules = [shlex.split(line) for line in done.stdout.splitlines()]

    def named(flag: str) -> set[str]:
        return {rule[rule.index(flag) + 1] for rule in rules if flag in rule}

    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert named("--topic") == set(TOPICS)
    assert named("--group") == {
        defaults["worker_group"],
        defaults["sink_group"],
        f"{defaults['sink_group']}-facts",
        f"{defaults['alerts_group']}.",
    }
    assert named("--transactional-id") == {
        f"{defaults['worker_group']}-",
        imports.TRANSACTIONAL_ID,
        dead_letter_replay.TRANSACTIONAL_ID,
        PUBLISH_ID,
        payouts_make.TRANSACTIONAL_ID,
    }
    (of_deployment,) = [rule for rule in rules if "User:dep" in rule]
    assert of_deployment[-6:] == ["--operation", "Write", "--operation", "Describe", "--topic", "usage.events"]

"""The Helm chart: what it makes is closed by default, and names only what exists."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.cli import _COMMANDS
from pipeline.settings import Settings
from tests.deploy.support import CHART, DEPLOY

HELM = os.environ.get("HELM") or shutil.which("helm")
VALUES = Path(__file__).parent / "values.yaml"
LEAST = ["kafka.bootstrap=k:9092", "clickhouse.url=http://c"]
TEMPLATES = {path.name: path.read_text() for path in (CHART / "templates").iterdir()}
SETTINGS = {f"USAGE_{name.upper()}" for name in Settings.model_fields} | {"USAGE_SECRETS_DIR", "USAGE_CONFIG"}

needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not installed; HELM may name it")


def render(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    command = [HELM, "template", "r", str(CHART), "--namespace", "billing", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=60)


def documents(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what Kubernetes gets, by kind and name."""
    found = [each for each in yaml.safe_load_all(text) if each]
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in found}
    assert len(by_name) == len(found)
    return by_name


@pytest.fixture(scope="module")
def made() -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the chart makes with everything on."""
    return documents(render("-f", str(VALUES)).stdout)


def pods(made: dict[tuple[str, str], dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the pod templates by the name of what makes them."""
    for (kind, name), each in made.items():
        if kind in ("Deployment", "StatefulSet", "Job"):
            yield name, each["spec"]["template"]
        elif kind == "CronJob":
            yield name, each["spec"]["jobTemplate"]["spec"]["template"]


def containers(made: dict[tuple[str, str], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield every container."""
    for _, pod in pods(made):
        yield from [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def test_values_fit_their_schema() -> None:
    """The default values and those of the tests are what the chart takes; a secret among the settings is not."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    jsonschema.validate(values, schema)
    jsonschema.validate(yaml.safe_load(VALUES.read_text()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values | {"settings": {"partitions": 8, "kafka_password": "x"}}, schema)


def test_templates_use_only_values_that_exist() -> None:
    """Every .Values.path of a template is in values.yaml."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    for name, text in TEMPLATES.items():
        for path in re.findall(r"(?:\$|\.|\$root)?\.Values\.([\w.]+)", text):
            here = values
            for part in path.split("."):
                if path.startswith("settings."):
                    assert part == "settings" or part in Settings.model_fields, path
                    continue
                assert part in here, (name, path)
                here = here[part]


def test_templates_set_only_settings_and_run_only_commands_that_exist() -> None:
    """Every USAGE_* variable is a setting, every container runs a command of `usage`."""
    for text in TEMPLATES.values():
        assert set(re.findall(r"name: (USAGE_[A-Z_]*[A-Z])\b", text)) <= SETTINGS
        assert set(re.findall(r"^\s+args: \[([a-z]+)", text, re.MULTILINE)) <= set(_COMMANDS)
        assert set(re.findall(r"usage ([a-z]+) --", text)) <= set(_COMMANDS)


def test_the_chart_brings_the_rules_of_prometheus() -> None:
    """The rules in the chart are those that are tested."""
    assert (CHART / "files/rules.yml").read_text() == (DEPLOY / "prometheus/rules.yml").read_text()


@needs_helm
def test_least_values_are_enough_and_the_needed_are_asked_for() -> None:
    """Kafka and ClickHouse must be named; an ingress without TLS is refused."""
    least = [word for value in LEAST for word in ("--set", value)]

    assert documents(render(*least).stdout)
    for wrong in ([], least[:2], [*least, "--set", "api.ingress.enabled=true,api.ingress.host=x"]):
        assert render(*wrong, check=False).returncode != 0


@needs_helm
def test_no_container_may_do_more_than_it_must(made: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Nobody is root, writes to the image, gains rights or holds a token of the cluster; memory is bounded."""
    for name, pod in pods(made):
        assert pod["spec"]["securityContext"]["runAsNonRoot"], name
        assert pod["spec"]["automountServiceAccountToken"] is False
    for container in containers(made):
        context = container["securityContext"]
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert {mount["name"] for mount in container["volumeMounts"]} >= {"tmp"}


@needs_helm
def test_secrets_come_from_secrets_only(made: dict[tuple[str, str], dict[str, Any]]) -> None:
    """The chart makes no Secret, sets no password, and a component may have a user of its own."""
    assert not any(kind == "Secret" for kind, _ in made)
    for container in containers(made):
        assert not any(re.search("PASSWORD|USERNAME", entry["name"]) for entry in container["env"])
    secrets = {
        name: volume["secret"]["secretName"]
        for name, pod in pods(made)
        for volume in pod["spec"]["volumes"]
        if volume["name"] == "secrets"
    }
    assert (secrets["r-usage-worker"], secrets["r-usage-sink"], secrets["r-usage-setup"]) == (
        "usage-worker",
        "usage",
        "admin",
    )


@needs_helm
def test_settings_are_those_that_were_given(made: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Numbers are written in full, every variable is a setting, and volumes and mounts fit together."""
    for container in containers(made):
        given = {entry["name"]: entry.get("value") for entry in container["env"]}
        assert len(given) == len(container["env"])
        assert {name for name in given if name.startswith("USAGE_")} <= SETTINGS
        assert given["USAGE_WORKER_ROUND_BYTES_MAX"] == "4194304"
    for name, pod in pods(made):
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        for container in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, name


@needs_helm
def test_a_worker_keeps_its_name(made: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Workers are a StatefulSet whose pods are named in their group as they are in the cluster."""
    worker = made["StatefulSet", "r-usage-worker"]["spec"]
    (container,) = worker["template"]["spec"]["containers"]
    environment = {entry["name"]: entry for entry in container["env"]}

    assert environment["USAGE_WORKER_NAME"]["value"] == "$(POD_NAMESPACE).$(POD_NAME)"
    assert environment["POD_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert ("Service", worker["serviceName"]) in made
    assert worker["podManagementPolicy"] == "Parallel"


@needs_helm
def test_processes_are_asked_whether_they_live_and_work(made: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Probes and PodMonitor use the port that the process is told."""
    for name in ("worker", "sink", "api", "alerts"):
        kind = "StatefulSet" if name == "worker" else "Deployment"
        (container,) = made[kind, f"r-usage-{name}"]["spec"]["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        environment = {entry["name"]: entry.get("value") for entry in container["env"]}
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
        assert environment["USAGE_METRICS_PORT"] == str(ports["metrics"])
    assert made["PodMonitor", "r-usage"]["spec"]["podMetricsEndpoints"][0]["port"] == "metrics"


@needs_helm
def test_selectors_choose_their_own_pods_only(made: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Services, budgets and network policies of a component match its pods and no other component's."""
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(made)}
    selectors = {
        (kind, name): spec["selector"].get("matchLabels", spec["selector"])
        if kind in ("Service", "PodDisruptionBudget")
        else spec["podSelector"]["matchLabels"]
        for (kind, name), spec in ((key, each.get("spec", {})) for key, each in made.items())
        if kind in ("Service", "PodDisruptionBudget", "NetworkPolicy")
    }

    for (kind, name), selector in selectors.items():
        chosen = {pod for pod, its in labels.items() if selector.items() <= its.items()}
        expected = {"r-usage-setup", "r-usage-publish"} if name == "r-usage-setup" else {name}
        assert chosen == expected, (kind, name)


@needs_helm
def test_the_network_is_closed_but_for_what_is_needed(made: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Every pod has a policy; only the API is open to all, and only by its own port; workers do not reach ClickHouse."""
    policies = {name: each["spec"] for (kind, name), each in made.items() if kind == "NetworkPolicy"}
    kafka = {"ports": [{"port": 9093, "protocol": "TCP"}, {"port": 9094, "protocol": "TCP"}]}
    clickhouse = {"ports": [{"port": 8443, "protocol": "TCP"}]}

    open_to_all = {
        (name, port["port"])
        for name, policy in policies.items()
        for rule in policy["ingress"]
        if not rule.get("from")
        for port in rule["ports"]
    }
    assert open_to_all == {("r-usage-api", "http")}
    assert all(policy["policyTypes"] == ["Ingress", "Egress"] for policy in policies.values())
    assert all(kafka in policy["egress"] for policy in policies.values())
    assert {name for name, policy in policies.items() if clickhouse in policy["egress"]} == {
        "r-usage-sink",
        "r-usage-api",
        "r-usage-setup",
        "r-usage-audit",
    }


@needs_helm
def test_keda_scales_what_there_is_up_to_the_partitions(made: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Replicas are left to KEDA, which never asks for more workers than there are partitions."""
    for name, kind in (("worker", "StatefulSet"), ("sink", "Deployment")):
        scaled = made["ScaledObject", f"r-usage-{name}"]["spec"]
        assert "replicas" not in made[kind, f"r-usage-{name}"]["spec"]
        assert scaled["scaleTargetRef"] == {"kind": kind, "name": f"r-usage-{name}"}
        assert scaled["maxReplicaCount"] <= 12
    assert made["ScaledObject", "r-usage-worker"]["spec"]["maxReplicaCount"] == 12


@needs_helm
def test_topics_and_tables_come_before_workers_and_the_catalog_after(
    made: dict[tuple[str, str], dict[str, Any]],
) -> None:
    """Setup is a hook before, publishing one after; neither needs what only the other order would bring."""
    setup, publish = made["Job", "r-usage-setup"], made["Job", "r-usage-publish"]
    volumes = {volume["name"] for volume in setup["spec"]["template"]["spec"]["volumes"]}

    assert setup["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert publish["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"
    assert "catalog" not in volumes  # its ConfigMap is not there yet
    assert ("ConfigMap", "r-usage-catalog") in made

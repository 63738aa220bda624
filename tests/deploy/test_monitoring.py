"""Dashboards, rules and runbooks name only what exists, and everything that alerts is explained."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.cli import _COMMANDS
from pipeline.observe.metrics import METRICS
from pipeline.settings import Settings
from tests.deploy.support import DEPLOY, ROOT, alerts, dashboards, rules, targets

FOREIGN = {"up", "process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes"}
"""What Prometheus and its client tell by themselves."""
NAME = re.compile(r"(?<![\w:])(?:usage[_:][a-z0-9_:]+|process_[a-z_]+|up)(?![\w:])")
RUNBOOKS = {path.stem: path.read_text() for path in (DEPLOY / "runbooks").glob("*.md")}


def exposed() -> set[str]:
    """Return every name that a process exposes; that of a histogram stands for its series too."""
    parts = {"counter": ("",), "gauge": ("",), "histogram": ("", "_bucket", "_sum", "_count")}
    return {metric.exposed + part for metric in METRICS.values() for part in parts[metric.kind]}


def recorded() -> set[str]:
    """Return the names that Prometheus records."""
    return {rule["record"] for rule in rules() if "record" in rule}


def names_in(expression: str) -> set[str]:
    """Return the metrics and recorded rules that an expression of PromQL names."""
    without_labels = re.sub(r"\{[^}]*\}|\b(?:by|on|group_left)\s*\([^)]*\)", "", expression)
    return set(NAME.findall(without_labels))


def test_rules_and_dashboards_name_only_declared_metrics() -> None:
    """A metric that is renamed or taken away is noticed here, not by an alert that never comes."""
    known = exposed() | FOREIGN | recorded()
    shown = [target for each in dashboards().values() for target in targets(each) if "expr" in target]

    assert len(shown) > 20
    for target in shown:
        assert names_in(target["expr"]), target
        assert names_in(target["expr"]) <= known, target["panel"]
    for rule in rules():
        assert names_in(rule["expr"]), rule
        assert names_in(rule["expr"]) <= known, rule


def test_every_metric_is_looked_at() -> None:
    """What is counted stands on a dashboard or in a rule: what nobody looks at need not be counted."""
    expressions = [target.get("expr", "") for each in dashboards().values() for target in targets(each)]
    used = set().union(*(names_in(text) for text in [*expressions, *(rule["expr"] for rule in rules())]))
    unseen = {"rounds", "restored", "catalog_waits", "sink_partitions"}  # for a look at the process itself

    for metric in METRICS.values():
        assert metric.name in unseen or any(name.startswith(metric.exposed) for name in used), metric.name


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    """An alert says how bad it is and what happens, and links its page."""
    assert {alert["alert"] for alert in alerts()} == RUNBOOKS.keys()
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["runbook_url"] == f"deploy/runbooks/{alert['alert']}.md"


@pytest.mark.parametrize("name", sorted(RUNBOOKS))
def test_a_runbook_says_what_to_do_with_commands_that_exist(name: str) -> None:
    """Each has the same four parts; `usage` commands, settings, metrics, links and files in it exist."""
    text = RUNBOOKS[name]
    metrics = {word for word in names_in(text) if word.startswith(("usage_", "usage:"))}
    settings = {f"USAGE_{setting.upper()}" for setting in Settings.model_fields}

    assert re.findall(r"^#+ (.*)$", text, re.MULTILINE) == [name, "Look", "Do", "Do not"]
    assert set(re.findall(r"(?:^|`)usage ([a-z-]+)", text, re.MULTILINE)) <= set(_COMMANDS)
    assert set(re.findall(r"USAGE_[A-Z_]+", text)) <= settings
    assert metrics <= exposed() | recorded()
    assert set(re.findall(r"\]\((\w+)\.md\)", text)) <= RUNBOOKS.keys()
    assert all((ROOT / path).exists() for path in re.findall(r"(?:docs|deploy)/[\w./-]+\.(?:md|sh|yml)", text))


def test_datasources_are_provisioned_without_secrets() -> None:
    """Dashboards use provisioned datasources, and what differs from place to place comes from the environment."""
    path = DEPLOY / "grafana/provisioning/datasources/usage.yaml"
    sources = {source["uid"]: source for source in yaml.safe_load(path.read_text())["datasources"]}
    used = {target["datasource"]["uid"] for each in dashboards().values() for target in targets(each)}

    assert used <= sources.keys()
    ledger = sources["usage-clickhouse"]
    places = [*ledger["secureJsonData"].values(), *(ledger["jsonData"][key] for key in ("host", "port", "username"))]
    assert all(value.startswith("$") for value in places)


def test_the_environment_of_grafana_fills_its_datasources() -> None:
    """Every variable of the provisioning is set in docker-compose.yml, and dashboards lie where Grafana looks for them."""
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    text = (DEPLOY / "grafana/provisioning/datasources/usage.yaml").read_text()
    folder = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/usage.yaml").read_text())["providers"][0]

    assert set(re.findall(r"\$(\w+)", text)) <= grafana["environment"].keys()
    assert any(volume.split(":")[1] == folder["options"]["path"] for volume in grafana["volumes"])


def test_prometheus_looks_for_every_process_that_tells() -> None:
    """Each of our services in docker-compose.yml that stays has a job, on the port that it is told."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    found = {
        job["job_name"]: (job["dns_sd_configs"][0]["names"], job["dns_sd_configs"][0]["port"])
        for job in config["scrape_configs"]
    }

    for name in ("worker", "sink", "api", "alerts"):
        assert found[f"usage-{name}"] == ([name], compose[name]["environment"]["USAGE_METRICS_PORT"])


def test_dashboards_do_not_overlap_and_can_be_told_apart() -> None:
    """Panels have ids, titles and places of their own; every dashboard has its own uid."""
    found = dashboards()

    assert len({each["uid"] for each in found.values()}) == len(found)
    for each in found.values():
        ids = [panel["id"] for panel in each["panels"]]
        cells = [
            (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
            for panel in each["panels"]
            for x in range(panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["h"])
        ]
        assert len(set(ids)) == len(ids)
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize(("code", "expected"), [("0", 0), ("1", 1), ("2", 2)])
def test_the_audit_leaves_its_outcome_for_prometheus(tmp_path: Path, code: str, expected: int) -> None:
    """The script writes declared metrics with the exit code, whole, readable to the collector, and ends with that code."""
    fake = tmp_path / "usage"
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexit {code}\n')
    fake.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "USAGE": str(fake), "TEXTFILES": str(tmp_path)}
    script = DEPLOY / "prometheus/audit-textfile.sh"

    done = subprocess.run(["sh", str(script), "2026-11-01", "--rerate"], env=environment, check=False, timeout=20)

    written = tmp_path / "usage_audit.prom"
    samples = dict(line.split(" ") for line in written.read_text().splitlines() if not line.startswith("#"))
    assert done.returncode == expected
    assert (tmp_path / "arguments").read_text() == "audit --period 2026-11-01 --rerate\n"
    assert samples.keys() == {metric.exposed for metric in METRICS.values() if metric.processes == ("audit",)}
    assert samples["usage_audit_exit_code"] == code
    assert written.stat().st_mode & 0o444 == 0o444
    assert not list(tmp_path.glob(".usage_audit*"))


def test_promtool_accepts_rules_and_configuration() -> None:
    """Prometheus itself reads them, and its unit tests of the alerts hold."""
    promtool = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus); PROMTOOL may name it")
    commands = [
        ["check", "config", str(DEPLOY / "prometheus/prometheus.yml")],
        ["test", "rules", str(Path(__file__).parent / "rules_test.yml")],
    ]

    for command in commands:
        done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_documentation_lists_every_metric() -> None:
    """docs/monitoring.md says of each metric what the declaration does, in the same order."""
    text = (ROOT / "docs/monitoring.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]+) \| (\w+) \| (.*) \|$", text, re.MULTILINE)

    assert rows == [
        (
            each.exposed,
            each.kind,
            ", ".join(each.processes),
            each.unit,
            each.meaning + (f" (by {', '.join(each.labels)})" if each.labels else ""),
        )
        for each in METRICS.values()
    ]

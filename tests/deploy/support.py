"""What is deployed, as it is read."""

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "usage"


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by file name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))}


def targets(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the queries of a dashboard, each with the title of its panel."""
    return [{**target, "panel": panel["title"]} for panel in dashboard["panels"] for target in panel.get("targets", ())]


def rules() -> list[dict[str, Any]]:
    """Return the rules of Prometheus, recording and alerting."""
    loaded = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Return the rules that alert."""
    return [rule for rule in rules() if "alert" in rule]

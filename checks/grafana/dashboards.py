"""Dashboards and rules as data, for the checks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "grafana/dashboards").glob("*.json"))}
RULES = yaml.safe_load((ROOT / "grafana/rules.yaml").read_text())


@dataclass(frozen=True)
class Query:
    dashboard: str
    panel: str
    legend: str
    expression: str
    instant: bool


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def queries() -> Iterator[Query]:
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield Query(name, panel["title"], target["legendFormat"], target["expr"], target["instant"])


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["spec"]["groups"] for rule in group["rules"]]


def filled(expression: str, values: dict[str, str]) -> str:
    """The expression as Grafana sends it."""
    return re.sub(r"\$(__\w+|\w+)", lambda match: values[match.group(1)], expression)


# Values for variables, for checks that need only a well-formed expression.
SAMPLE = {"job": ".*", "namespace": ".*", "pod": ".*", "reads_limit": "40", "lists_limit": "3", "__rate_interval": "1m", "__range": "1h"}

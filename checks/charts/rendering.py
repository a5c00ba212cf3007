"""The charts, their scenarios, and what Helm makes of them."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
HELM = ROOT / "helm"

# The namespace that each chart is meant for is called like the chart.
SERVICES = ("aux-service", "main-api")
CHARTS = (*SERVICES, "ecr-credentials")

HELMS = {"Helm 3": os.environ["HELM3"], "Helm 4": os.environ["HELM4"]}

# What the charts promise (kubeVersion in Chart.yaml) and what their validation knows.
KUBERNETES = [f"1.{minor}" for minor in range(28, 38)]

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """One way to install one chart: its defaults, or its defaults and one file of values."""

    chart: str
    name: str
    values: Path | None
    # The oldest Kubernetes that a scenario is for; older ones have to be refused with a message.
    since: str

    def __str__(self) -> str:
        return f"{self.chart}/{self.name}"


class Refused(Exception):
    """Helm did not render; the message is what the operator sees."""


def scenarios() -> list[Scenario]:
    """The default of each chart first. A chart that cannot be installed without values has a file of them for it."""
    found = []
    for chart in CHARTS:
        files = {path.name.removesuffix("-values.yaml"): path for path in (HELM / chart / "ci").glob("*-values.yaml")}
        for name in ["default", *sorted(files.keys() - {"default"})]:
            path = files.get(name)
            since = re.search(r"^# Since Kubernetes (\S+)$", path.read_text(), re.M) if path else None
            found.append(Scenario(chart, name, path, since[1] if since else KUBERNETES[0]))
    return found


def helm(binary: str, *arguments: str | Path) -> str:
    """Runs Helm; what it writes to standard error counts only when it fails."""
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        # Helm tells about the link to helm/common on every run.
        raise Refused("\n".join(line for line in done.stderr.splitlines() if "symbolic link" not in line).strip())
    return done.stdout


def render(scenario: Scenario, helm_name: str = "Helm 4", kubernetes: str = KUBERNETES[-1]) -> str:
    values = ("--values", scenario.values) if scenario.values else ()
    return _template(helm_name, scenario.chart, "--kube-version", kubernetes, *values)


@functools.cache
def _template(helm_name: str, chart: str, *arguments: str | Path) -> str:
    return template(helm_name, chart, *arguments)


def unreleased(chart: str) -> tuple[str | Path, ...]:
    """Takes back what the pipeline has written into a chart's values: a release must change no snapshot."""
    return ("--values", Path(__file__).with_name("unreleased.yaml")) if chart in SERVICES else ()


def template(helm_name: str, chart: str, *arguments: str | Path) -> str:
    """`helm template` as an operator would call it, without a memory of earlier calls."""
    text = helm(HELMS[helm_name], "template", chart, HELM / chart, "--namespace", chart, *unreleased(chart), *arguments)
    # The two majors differ in blank lines only.
    return re.sub(r"\n{2,}", "\n", text)


@functools.cache
def manifests(text: str) -> list[Manifest]:
    """The documents in the order of kind and name, because the two majors of Helm order them differently."""
    documents = [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]
    return sorted(documents, key=lambda d: (d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]))


def notes(scenario: Scenario) -> str:
    """What `helm install` tells the operator."""
    values = ("--values", scenario.values) if scenario.values else ()
    dry_run = ("install", scenario.chart, HELM / scenario.chart, "--namespace", scenario.chart, "--dry-run=client", *unreleased(scenario.chart))
    return helm(HELMS["Helm 4"], *dry_run, *values).split("\nNOTES:\n", 1)[1]

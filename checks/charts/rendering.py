"""The charts, their scenarios and their renders."""

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

# Each chart's namespace has the chart's name.
SERVICES = ("aux-service", "main-api")
CHARTS = (*SERVICES, "ecr-credentials")

HELMS = {"Helm 3": os.environ["HELM3"], "Helm 4": os.environ["HELM4"]}

# The versions that the charts support (kubeVersion in Chart.yaml) and that the validation has schemas for.
KUBERNETES = [f"1.{minor}" for minor in range(28, 38)]

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """One way to install one chart: its defaults, or its defaults and one file of values."""

    chart: str
    name: str
    values: Path | None
    # The oldest supported Kubernetes; the chart has to reject older ones with a message.
    since: str

    def __str__(self) -> str:
        return f"{self.chart}/{self.name}"


class Refused(Exception):
    """An error of Helm, with the message that the operator sees."""


def scenarios() -> list[Scenario]:
    """All scenarios, each chart's default first. A chart that requires values has a file for its default."""
    found = []
    for chart in CHARTS:
        files = {path.name.removesuffix("-values.yaml"): path for path in (HELM / chart / "ci").glob("*-values.yaml")}
        for name in ["default", *sorted(files.keys() - {"default"})]:
            path = files.get(name)
            since = re.search(r"^# Since Kubernetes (\S+)$", path.read_text(), re.M) if path else None
            found.append(Scenario(chart, name, path, since[1] if since else KUBERNETES[0]))
    return found


def helm(binary: str, *arguments: str | Path) -> str:
    """Runs Helm. Its notice of a symbolic link, which it would print on every run, is an error of the chart."""
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode or "symbolic link" in done.stderr:
        raise Refused(done.stderr.strip())
    return done.stdout


def render(scenario: Scenario, helm_name: str = "Helm 4", kubernetes: str = KUBERNETES[-1]) -> str:
    values = ("--values", scenario.values) if scenario.values else ()
    return _template(helm_name, scenario.chart, "--kube-version", kubernetes, *values)


@functools.cache
def _template(helm_name: str, chart: str, *arguments: str | Path) -> str:
    return template(helm_name, chart, *arguments)


def unreleased(chart: str) -> tuple[str | Path, ...]:
    """Values that reset the image of a release, because a release must not change a snapshot."""
    return ("--values", Path(__file__).with_name("unreleased.yaml")) if chart in SERVICES else ()


def template(helm_name: str, chart: str, *arguments: str | Path) -> str:
    """`helm template` with an operator's arguments, without the cache of renders."""
    text = helm(HELMS[helm_name], "template", chart, HELM / chart, "--namespace", chart, *unreleased(chart), *arguments)
    # The two majors differ in blank lines only.
    return re.sub(r"\n{2,}", "\n", text)


@functools.cache
def manifests(text: str) -> list[Manifest]:
    """The documents ordered by kind and name, because the two majors of Helm order them differently."""
    documents = [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]
    return sorted(documents, key=lambda d: (d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]))


def notes(scenario: Scenario) -> str:
    """The notes that `helm install` prints."""
    values = ("--values", scenario.values) if scenario.values else ()
    dry_run = ("install", scenario.chart, HELM / scenario.chart, "--namespace", scenario.chart, "--dry-run=client", *unreleased(scenario.chart))
    return helm(HELMS["Helm 4"], *dry_run, *values).split("\nNOTES:\n", 1)[1]

"""The charts as dependencies of a parent chart: with conditions, tags, an alias and null values."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nulls
import yaml
from rendering import CHARTS, HELM, HELMS, KUBERNETES, Manifest, Refused, helm, manifests, unreleased

VERSION: str = yaml.safe_load((HELM / "main-api/Chart.yaml").read_text())["version"]
REGISTRY = {"registry": "123456789012.dkr.ecr.eu-west-2.amazonaws.com"}


def parent(folder: Path) -> Path:
    """A parent chart with each chart as a dependency, and main-api a second time under another name."""
    chart = folder / "parent"
    dependencies = [{"name": name, "version": VERSION, "condition": f"{name}.enabled", "tags": ["gateway"]} for name in CHARTS]
    dependencies.append({"name": "main-api", "version": VERSION, "alias": "front-door", "condition": "front-door.enabled"})
    for name in CHARTS:
        shutil.copytree(HELM / name, chart / "charts" / name)
    about = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": dependencies}
    (chart / "Chart.yaml").write_text(json.dumps(about))
    return chart


def render(helm_name: str, chart: Path, values: dict[str, Any]) -> list[Manifest]:
    file = chart.parent / "values.json"
    file.write_text(json.dumps(values))
    return manifests(helm(HELMS[helm_name], "template", "main-api", chart, "--namespace", "main-api", "--kube-version", KUBERNETES[-1], "--values", file))


def problems() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        chart = parent(Path(folder))
        found = []
        for helm_name in HELMS:
            try:
                found += [f"under {helm_name}: {problem}" for problem in _problems(helm_name, chart)]
            except Refused as refused:
                found.append(f"under {helm_name}: {refused}")
        return found


def _problems(helm_name: str, chart: Path) -> Iterator[str]:
    image = {"image": {"tag": "", "digest": ""}}
    off: dict[str, Any] = {name: {"enabled": False} for name in (*CHARTS, "front-door")}

    alone = manifests(helm(HELMS[helm_name], "template", "main-api", HELM / "main-api", "--namespace", "main-api",
                           "--kube-version", KUBERNETES[-1], *unreleased("main-api")))  # fmt: skip
    if render(helm_name, chart, off | {"main-api": {"enabled": True, "tags": {"gateway": True}, **image}, "global": {"domain": "x"}}) != alone:
        yield "main-api as a dependency differs from main-api alone"
    if render(helm_name, chart, off):
        yield "disabled dependencies render objects"
    every = render(helm_name, chart, {"ecr-credentials": REGISTRY, "tags": {"gateway": True}})
    if not {"aux-service", "main-api", "front-door", "ecr-credentials"} <= {m["metadata"]["name"] for m in every}:
        yield "not every dependency renders by its defaults"

    # An alias names the objects, and the program, its image and its variables stay main-api's.
    door = {m["kind"]: m for m in render(helm_name, chart, off | {"front-door": {"enabled": True, **image}})}
    deployment = door["Deployment"]
    pod = deployment["spec"]["template"]["spec"]["containers"][0]
    named = (deployment["metadata"]["name"], door["Service"]["spec"]["selector"]["app.kubernetes.io/name"], pod["name"], pod["image"])
    if named != ("front-door", "front-door", "main-api", f"kantox-challenge:main-api-{VERSION}"):
        yield f"main-api under the alias front-door renders {named}"

    # Helm passes null on to a dependency.
    for name in ("aux-service", "main-api"):
        values = {path for _, path, default in nulls.cases(name) if not default and isinstance(default, (dict, list))}
        given: dict[str, Any] = nulls.BASE[name] | {"enabled": True, **image}
        empty = given
        for path in values:
            empty = nulls.changed(empty, path, remove=False)
        if render(helm_name, chart, off | {name: empty}) != render(helm_name, chart, off | {name: given}):
            yield f"{name}: null for every empty map and list changes the render"

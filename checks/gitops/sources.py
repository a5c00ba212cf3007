"""An application's sources, found and rendered as Argo CD does it."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml
from rendering import HELMS, KUBERNETES, ROOT, Manifest, Refused, helm, manifests

# The address that stands for this repository; whoever installs it writes their own into helm/argocd/values.yaml.
REPOSITORY = "https://git.example.com/team/cached-gateway.git"


class Unresolved(Exception):
    """Argo CD would not find, or not be able to render, a source."""


@functools.cache
def _committed() -> frozenset[Path]:
    """What Git has or would have: ignored files are no source of anything, and deleted ones are gone."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return frozenset(ROOT / name for name in listed if name and (ROOT / name).exists())


def links_outside() -> list[str]:
    """Argo CD refuses a repository with a link that leads out of it."""
    links = [path for path in _committed() if path.is_symlink()]
    return [f"{path.relative_to(ROOT)} leads out of the repository" for path in links if not path.resolve().is_relative_to(ROOT)]


def file_in_git(path: Path) -> Path:
    """The path, if Argo CD would find a file there."""
    if path.resolve() not in {committed.resolve() for committed in _committed() if committed.is_file()}:
        raise Unresolved(f"{path.relative_to(ROOT)} is not in the repository")
    return path


def sources(application: Manifest) -> list[dict[str, Any]]:
    spec = application["spec"]
    return spec["sources"] if "sources" in spec else [spec["source"]]


def is_remote(source: dict[str, Any]) -> bool:
    """Whether it is a chart from a chart repository."""
    return "chart" in source


def value_files(application: Manifest, source: dict[str, Any]) -> list[Path]:
    """`$name/…` is a file of the source whose `ref` is that name; anything else is below the source's path."""
    refs = {other["ref"]: other for other in sources(application) if "ref" in other}
    found = []
    for name in source.get("helm", {}).get("valueFiles", []):
        if name.startswith("$"):
            ref, _, rest = name[1:].partition("/")
            if ref not in refs:
                raise Unresolved(f"{name}: no source has ref: {ref}")
            if refs[ref]["repoURL"] != REPOSITORY:
                raise Unresolved(f"{name}: the source {ref} is {refs[ref]['repoURL']}")
            found.append(file_in_git(ROOT / rest))
        else:
            found.append(file_in_git(ROOT / source["path"] / name))
    return found


def render(application: Manifest, source: dict[str, Any], helm_name: str = "Helm 4", extra: tuple[str, ...] = ()) -> list[Manifest]:
    """What one source brings. `extra` are `--set`s that stand for what an operator wrote into the values in Git."""
    if is_remote(source):
        chart = [source["chart"], "--repo", source["repoURL"], "--version", source["targetRevision"]]
        return _helm(application, source, chart, helm_name, extra)
    if source["repoURL"] != REPOSITORY:
        raise Unresolved(f"{source['repoURL']} is neither this repository nor a chart's")
    path = ROOT / source["path"]
    if not any(committed.is_relative_to(path) for committed in _committed()):
        raise Unresolved(f"{source['path']} is not in the repository")
    if (path / "Chart.yaml").exists():
        return _helm(application, source, [str(path)], helm_name, extra)
    if (path / "kustomization.yaml").exists():
        done = subprocess.run(["kubectl", "kustomize", path], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unresolved(done.stderr.strip())
        return manifests(done.stdout)
    raise Unresolved(f"{source['path']} holds neither a chart nor a kustomization")


def _helm(application: Manifest, source: dict[str, Any], chart: list[str], helm_name: str, extra: tuple[str, ...]) -> list[Manifest]:
    settings = source.get("helm", {})
    if unknown := settings.keys() - {"releaseName", "valueFiles", "valuesObject", "parameters"}:
        raise Unresolved(f"this check does not know what helm.{', '.join(sorted(unknown))} does")
    arguments = ["template", settings.get("releaseName", application["metadata"]["name"]), *chart]
    arguments += ["--namespace", application["spec"]["destination"]["namespace"], "--include-crds", "--kube-version", KUBERNETES[-1]]
    for path in value_files(application, source):
        arguments += ["--values", str(path)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as values:
        json.dump(settings.get("valuesObject", {}), values)
        values.flush()
        arguments += ["--values", values.name]
        for parameter in settings.get("parameters", []):
            arguments += ["--set-string" if parameter.get("forceString") else "--set", f"{parameter['name']}={parameter['value']}"]
        for setting in extra:
            arguments += ["--set", setting]
        try:
            rendered = manifests(helm(HELMS[helm_name], *arguments))
        except Refused as refused:
            raise Unresolved(str(refused)) from None
    # Hooks of `helm test` are nothing to Argo CD.
    return [m for m in rendered if m["metadata"].get("annotations", {}).get("helm.sh/hook") != "test"]


@functools.cache
def values(path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(file_in_git(path).read_text())
    return parsed

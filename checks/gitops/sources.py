"""An application's sources, found and rendered as Argo CD does."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from rendering import HELMS, KUBERNETES, ROOT, Manifest, Refused, helm, manifests

# The address of this repository in the scenarios; an operator writes the real one into helm/argocd/values.yaml.
REPOSITORY = "https://git.example.com/team/cached-gateway.git"


class Unresolved(Exception):
    """A source that Argo CD cannot find or render."""


@functools.cache
def _committed() -> frozenset[Path]:
    """The files that Git has or would add, without ignored and deleted ones."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return frozenset(ROOT / name for name in listed if name and (ROOT / name).exists())


def links_outside() -> list[str]:
    """Argo CD rejects a repository with a link that leads out of it."""
    links = [path for path in _committed() if path.is_symlink()]
    return [f"{path.relative_to(ROOT)} leads out of the repository" for path in links if not path.resolve().is_relative_to(ROOT)]


def file_in_git(path: Path) -> Path:
    """The path, if Git has a file there."""
    if path.resolve() not in {committed.resolve() for committed in _committed() if committed.is_file()}:
        raise Unresolved(f"{path.relative_to(ROOT)} is not in the repository")
    return path


def sources(application: Manifest) -> list[dict[str, Any]]:
    spec = application["spec"]
    return spec["sources"] if "sources" in spec else [spec["source"]]


def is_remote(source: dict[str, Any]) -> bool:
    """Whether the source is a chart from a chart repository."""
    return "chart" in source


def value_files(application: Manifest, source: dict[str, Any]) -> list[Path]:
    """The value files: `$name/…` is in the source whose `ref` is that name, any other path is below the source's path."""
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
    """One source's manifests. `extra` are `--set` arguments for the settings that an operator writes into the values in Git."""
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
        return _kustomize(source, path)
    raise Unresolved(f"{source['path']} holds neither a chart nor a kustomization")


def _kustomize(source: dict[str, Any], path: Path) -> list[Manifest]:
    settings = source.get("kustomize", {})
    if unknown := settings.keys() - {"patches"}:
        raise Unresolved(f"this check does not support kustomize.{', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / path.name
        shutil.copytree(path, folder)
        # Argo CD adds an application's patches to those of the file.
        file = folder / "kustomization.yaml"
        kustomization = yaml.safe_load(file.read_text())
        kustomization["patches"] = kustomization.get("patches", []) + settings.get("patches", [])
        file.write_text(yaml.safe_dump(kustomization))
        done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unresolved(done.stderr.strip())
    return manifests(done.stdout)


def _helm(application: Manifest, source: dict[str, Any], chart: list[str], helm_name: str, extra: tuple[str, ...]) -> list[Manifest]:
    settings = source.get("helm", {})
    if unknown := settings.keys() - {"releaseName", "valueFiles", "valuesObject", "parameters"}:
        raise Unresolved(f"this check does not support helm.{', '.join(sorted(unknown))}")
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
    # Argo CD ignores hooks of `helm test`.
    return [m for m in rendered if m["metadata"].get("annotations", {}).get("helm.sh/hook") != "test"]


def undocumented(given: dict[str, Any], chart: str) -> list[str]:
    """The keys that CHART.yaml, the list of a remote chart's documented keys, does not have."""
    known = values(Path(__file__).with_name(f"{chart}.yaml"))
    return [f"{key}: the chart {chart} documents no such key" for key in _undocumented(given, known)]


def _undocumented(given: Any, known: Any, path: str = "") -> Iterator[str]:
    if known is None or not isinstance(given, dict):
        return
    for key, value in given.items():
        where = f"{path}.{key}" if path else key
        if key not in known:
            yield where
        else:
            yield from _undocumented(value, known[key], where)


@functools.cache
def values(path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(file_in_git(path).read_text())
    return parsed

"""Null in the place of a value: `podAnnotations:` with nothing behind it in a file of values.

Helm removes the default of such a key, and keeps null in the values of a dependency. Both have to render as if the key were
absent. Only inside of labels and of Kubernetes' own objects (resources, security contexts) null removes the default.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from rendering import HELM, KUBERNETES, Manifest, Refused, manifests, template

# Everything is on, so that the templates read every value.
BASE: dict[str, dict[str, Any]] = {
    service: {
        "autoscaling": {"enabled": True},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
        "ingress": {"enabled": True},
        "networkPolicy": {"enabled": True},
        "serviceMonitor": {"enabled": True},
    }
    for service in ("aux-service", "main-api")
} | {"ecr-credentials": {"registry": "123456789012.dkr.ecr.eu-west-2.amazonaws.com"}}
BASE["aux-service"]["sharedCache"] = {"url": "redis://valkey", "passwordSecret": {"name": "valkey"}, "keySecret": {"name": "valkey"}}

# Values that the base needs.
REQUIRED = {("registry",), ("sharedCache", "url"), ("httpRoute", "parentRefs"), ("resources", "requests"), ("resources", "requests", "cpu"), ("podSecurityContext", "seccompProfile", "type")}
# Maps in which null removes a key.
OPEN = {"resources", "podSecurityContext", "containerSecurityContext", "labels", "podLabels"}


def paths(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        yield (*path, key), value
        if isinstance(value, dict):
            yield from paths(value, (*path, key))


def cases(chart: str) -> list[tuple[str, tuple[str, ...], Any]]:
    defaults = yaml.safe_load((HELM / chart / "values.yaml").read_text())
    return [(chart, path, value) for path, value in paths(defaults) if path not in REQUIRED]


def changed(values: dict[str, Any], path: tuple[str, ...], remove: bool) -> dict[str, Any]:
    """A copy with null at the path, or without the path."""
    copy: dict[str, Any] = json.loads(json.dumps(values))
    inner = copy
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner.pop(path[-1], None) if remove else inner.__setitem__(path[-1], None)
    return copy


def render(helm_name: str, chart: str, values: dict[str, Any]) -> list[Manifest]:
    return _render(helm_name, chart, json.dumps(values, sort_keys=True))


@functools.cache
def _render(helm_name: str, chart: str, values: str) -> list[Manifest]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(values)
        file.flush()
        return manifests(template(helm_name, chart, "--kube-version", KUBERNETES[-1], "--values", file.name))


def problems(case: tuple[str, tuple[str, ...], Any]) -> list[str]:
    chart, path, default = case
    found = []
    where = f"{chart}: {'.'.join(path)}: null"
    # The majors of Helm treat null alike, so one is enough for scalars.
    for helm_name in ("Helm 3", "Helm 4") if isinstance(default, (dict, list)) else ("Helm 4",):
        try:
            without = render(helm_name, chart, changed(BASE[chart], path, remove=True))
            null = render(helm_name, chart, changed(BASE[chart], path, remove=False))
        except Refused as refused:
            found.append(f"{where} under {helm_name}: {refused}")
            continue
        if OPEN & set(path[:-1]):
            if null == without:
                found.append(f"{where} under {helm_name}: the default is still there")
        elif null != without:
            found.append(f"{where} under {helm_name}: does not render as if it were absent")
    return found

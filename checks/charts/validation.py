"""Manifests against the types of Kubernetes and of custom resources, and against each other."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
from kubernetes_validate import utils
from rendering import ROOT, Manifest

# Without a cache the library reads megabytes of schemas for every manifest.
utils.schema_contents = functools.cache(utils.schema_contents)
utils.all_versions = functools.cache(utils.all_versions)

# Groups of custom resources. Any other group without a schema is an error.
CUSTOM_GROUPS = ("monitoring.coreos.com", "gateway.networking.k8s.io", "traefik.io")


def is_custom(manifest: Manifest) -> bool:
    return manifest["apiVersion"].split("/")[0] in CUSTOM_GROUPS


@functools.cache
def _kubernetes_problem(manifest: str, version: str) -> str | None:
    parsed = json.loads(manifest)
    try:
        kubernetes_validate.validate(parsed, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        where = ".".join(map(str, error.path))
        return f"{parsed['kind']} {parsed['metadata']['name']}: {where}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return f"{parsed['kind']} {parsed['metadata']['name']}: {error.message}"
    return None


def kubernetes_problems(manifests: list[Manifest], version: str) -> list[str]:
    """Violations of this Kubernetes version's types, unknown fields and unknown kinds included."""
    texts = (json.dumps(manifest, sort_keys=True) for manifest in manifests if not is_custom(manifest))
    return [problem for text in texts if (problem := _kubernetes_problem(text, version))]


def custom_resource_problems(manifests: list[tuple[str, Manifest]]) -> list[str]:
    """Violations of the types of Prometheus' operator, the Gateway API, Traefik and Argo CD."""
    # Node finds the packages beside the script.
    folder = Path(os.environ["CUSTOM_RESOURCES"])
    script = folder / "custom-resources.mjs"
    script.write_text((ROOT / "checks/charts/custom-resources.mjs").read_text())
    done = subprocess.run(
        ["node", script, folder / "custom-resources.mts"],
        input=json.dumps([{"from": origin, "manifest": manifest} for origin, manifest in manifests]),
        capture_output=True, text=True, check=False,
    )
    return (done.stderr.splitlines() or ["custom-resources.mjs failed without a message"]) if done.returncode else []


# The fields for which the CRDs of the Gateway API 1.6 and of Prometheus' operator 0.93 have a default, where the charts' objects
# have them. Traefik's have none. Argo CD knows the defaults of Kubernetes' own kinds, and not those of a CRD.
CRD_DEFAULTS = {
    "HTTPRoute": ["parentRefs.group", "parentRefs.kind", "rules.matches.path.type", "rules.matches.path.value", "rules.backendRefs.group",
                  "rules.backendRefs.kind", "rules.backendRefs.weight"],
    "ServiceMonitor": ["endpoints.relabelings.action", "endpoints.metricRelabelings.action"],
}  # fmt: skip


def missing_defaults(manifest: Manifest) -> Iterator[str]:
    """Fields that the API server would add to a custom resource, so that Argo CD would show a difference from Git."""
    for path in CRD_DEFAULTS.get(manifest["kind"], []):
        *outer, last = path.split(".")
        objects = [manifest["spec"]]
        for key in outer:
            inner = [o[key] for o in objects if key in o]
            objects = [o for found in inner for o in (found if isinstance(found, list) else [found])]
        if any(last not in o for o in objects):
            yield f"{manifest['kind']} {manifest['metadata']['name']}: the API server adds the default of {path}; write it out"


def reference_problems(manifests: list[Manifest]) -> list[str]:
    """References between manifests that do not match."""
    return [*_selectors(manifests), *_ports(manifests), *_volumes(manifests), *_duplicate_names(manifests)]


def _pods(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, str], dict[str, Any]]]:
    for manifest in manifests:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        if manifest["kind"] == "Pod":
            yield name, manifest["metadata"]["labels"], manifest["spec"]
        elif manifest["kind"] in ("Deployment", "Job"):
            pod = manifest["spec"]["template"]
            yield name, pod["metadata"]["labels"], pod["spec"]
        elif manifest["kind"] == "CronJob":
            pod = manifest["spec"]["jobTemplate"]["spec"]["template"]
            yield name, pod["metadata"]["labels"], pod["spec"]


def _matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def _selectors(manifests: list[Manifest]) -> Iterator[str]:
    """A Service, a policy or a budget selects the Deployment's pods and no others; a monitor selects a Service."""
    services = [m for m in manifests if m["kind"] == "Service"]
    for manifest in manifests:
        spec, name = manifest.get("spec", {}), f"{manifest['kind']} {manifest['metadata']['name']}"
        match manifest["kind"]:
            case "Service":
                selector = spec["selector"]
            case "PodDisruptionBudget":
                selector = spec["selector"]["matchLabels"]
            case "NetworkPolicy":
                selector = spec["podSelector"]["matchLabels"]
            case "ServiceMonitor":
                for endpoint in spec["endpoints"]:
                    found = [s for s in services if _matches(spec["selector"]["matchLabels"], s["metadata"]["labels"])
                             and endpoint["port"] in [p["name"] for p in s["spec"]["ports"]]]
                    if len(found) != 1:
                        yield f"{name}: {len(found)} Services have its labels and the port {endpoint['port']}"
                continue
            case _:
                continue
        selected = [pod for pod, labels, _ in _pods(manifests) if _matches(selector, labels)]
        if [pod.split()[0] for pod in selected] != ["Deployment"]:
            yield f"{name}: selects {selected or 'nothing'}"


def _ports(manifests: list[Manifest]) -> Iterator[str]:
    """A named port exists where it is used."""
    for manifest in manifests:
        if manifest["kind"] == "Service":
            used = {port["targetPort"] for port in manifest["spec"]["ports"]}
        elif manifest["kind"] == "NetworkPolicy":
            used = {port["port"] for rule in manifest["spec"]["ingress"] for port in rule.get("ports", [])}
        else:
            continue
        known = {p["name"] for _, _, pod in _pods(manifests) for c in pod["containers"] for p in c.get("ports", [])}
        for port in used - known:
            yield f"{manifest['kind']} {manifest['metadata']['name']}: no container has a port {port}"


def _volumes(manifests: list[Manifest]) -> Iterator[str]:
    """Every mount has its volume, and every volume is mounted."""
    for name, _, pod in _pods(manifests):
        volumes = [volume["name"] for volume in pod.get("volumes", [])]
        containers = pod["containers"] + pod.get("initContainers", [])
        mounts = {mount["name"] for container in containers for mount in container.get("volumeMounts", [])}
        if sorted(volumes) != sorted(mounts):
            yield f"{name}: mounts {sorted(mounts)}, has volumes {sorted(volumes)}"


def _duplicate_names(manifests: list[Manifest]) -> Iterator[str]:
    """Variables and manifests that exist twice: the last would apply, or the server would reject it."""
    keys = [(m["apiVersion"], m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    yield from (f"{kind} {name}: rendered twice" for _, kind, _, name in {k for k in keys if keys.count(k) > 1})
    for name, _, pod in _pods(manifests):
        for container in pod["containers"]:
            variables = [variable["name"] for variable in container.get("env", [])]
            yield from (f"{name}: {v} is set twice" for v in {v for v in variables if variables.count(v) > 1})

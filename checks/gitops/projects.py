"""The limits of an application's project."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from rendering import Manifest
from sources import sources

CLUSTER_SCOPED = {
    "APIService", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "IngressClass", "MutatingWebhookConfiguration",
    "Namespace", "Node", "PersistentVolume", "PriorityClass", "RuntimeClass", "StorageClass", "ValidatingWebhookConfiguration",
}  # fmt: skip


def problems(application: Manifest, project: Manifest, installed: list[Manifest]) -> Iterator[str]:
    """Violations that Argo CD reports as `is not permitted in project`."""
    spec, destination = project["spec"], application["spec"]["destination"]
    for source in sources(application):
        if source["repoURL"] not in spec["sourceRepos"]:
            yield f"the source {source['repoURL']} is not in the project"
    if destination not in spec["destinations"]:
        yield f"the destination {destination} is not in the project"
    options = application["spec"]["syncPolicy"]["syncOptions"]
    if "CreateNamespace=true" in options and not _listed(spec["clusterResourceWhitelist"], "", "Namespace", destination["namespace"]):
        yield f"the namespace {destination['namespace']} is not in the project"
    namespaces = {d["namespace"] for d in spec["destinations"] if d["server"] == destination["server"]}
    for manifest in installed:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        group = manifest["apiVersion"].rpartition("/")[0]
        if kind in CLUSTER_SCOPED:
            if not _listed(spec["clusterResourceWhitelist"], group, kind, name):
                yield f"{kind} {name}: the project has no {kind} of the cluster"
            continue
        if not _listed(spec["namespaceResourceWhitelist"], group, kind, name):
            yield f"{kind} {name}: the project has no {group or 'v1'} {kind}"
        if (namespace := manifest["metadata"].get("namespace", destination["namespace"])) not in namespaces:
            yield f"{kind} {name}: the project has no namespace {namespace}"


def _listed(allowed: list[dict[str, str]], group: str, kind: str, name: str) -> bool:
    return any(item["group"] == group and item["kind"] == kind and fnmatchcase(name, item.get("name", "*")) for item in allowed)

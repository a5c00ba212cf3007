"""helm/monitoring/values.yaml: known keys, typed specs, and selectors that match the applications' objects."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import yaml
from rendering import HELM, Manifest
from sources import REPOSITORY, sources, undocumented, values

RUNBOOK = f"{REPOSITORY.removesuffix('.git')}/blob/main/docs/runbook.md#"


def stack() -> dict[str, Any]:
    return values(HELM / "monitoring/values.yaml")


def prometheus_spec() -> dict[str, Any]:
    spec: dict[str, Any] = stack()["prometheus"]["prometheusSpec"]
    return spec


def unknown_keys() -> list[str]:
    return undocumented(stack(), "kube-prometheus-stack")


def specs() -> list[Manifest]:
    """The objects that the chart renders from prometheusSpec and alertmanagerSpec, for the check of types."""
    found = []
    for kind, spec in (("Prometheus", prometheus_spec()), ("Alertmanager", stack()["alertmanager"]["alertmanagerSpec"])):
        renamed = {"storage" if key == "storageSpec" else key: value for key, value in spec.items()}
        if claim := renamed.get("storage", {}).get("volumeClaimTemplate"):
            # The generated types require these two fields, and the operator's CRD does not.
            typed = claim | {"apiVersion": "monitoring.coreos.com/v1", "kind": "EmbeddedPersistentVolumeClaim"}
            renamed["storage"] = renamed["storage"] | {"volumeClaimTemplate": typed}
        found.append({"apiVersion": "monitoring.coreos.com/v1", "kind": kind, "metadata": {"name": "values"}, "spec": renamed})
    return found


def routes() -> list[str]:
    """Errors that Alertmanager's own tool finds in the configuration and the routes."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as config:
        yaml.safe_dump(stack()["alertmanager"]["config"], config)
        config.flush()
        problems = []
        done = subprocess.run(["amtool", "check-config", config.name], capture_output=True, text=True, check=False)
        if done.returncode:
            return [f"alertmanager.config: {done.stderr.strip()}"]
        for labels, receiver in (
            ({"alertname": "ServiceDown", "severity": "critical"}, "on-call"),
            ({"alertname": "ErrorBudgetBurnsSlowly", "severity": "warning"}, "team"),
            ({"alertname": "Watchdog", "severity": "none"}, "nobody"),
        ):
            command = ["amtool", "config", "routes", "test", "--config.file", config.name, f"--verify.receivers={receiver}"]
            done = subprocess.run([*command, *(f"{k}={v}" for k, v in labels.items())], capture_output=True, text=True, check=False)
            if done.returncode:
                problems.append(f"alertmanager.config: {labels['alertname']} should go to {receiver}: {done.stdout}{done.stderr}".strip())
        return problems


def discovery(application: Manifest, installed: list[Manifest]) -> Iterator[str]:
    """Installed monitors, rules and dashboards that the selectors of Prometheus and Grafana do not match."""
    prometheus = prometheus_spec()
    release = next(s["helm"]["releaseName"] for s in sources(application) if "chart" in s)
    for key in ("serviceMonitorSelector", "ruleSelector"):
        if prometheus[key]["matchLabels"].get("release", release) != release:
            yield f"{key} selects {prometheus[key]['matchLabels']}, and does not match the objects of the release {release}"
    for kind, what in (("ServiceMonitor", "serviceMonitor"), ("PrometheusRule", "rule")):
        found = [m for m in installed if m["kind"] == kind]
        if not found:
            yield f"no application installs a {kind}"
        for manifest in found:
            metadata, labels = manifest["metadata"], manifest["metadata"].get("labels", {})
            for rule in (rule for group in manifest["spec"].get("groups", []) for rule in group["rules"] if "alert" in rule):
                if not rule["annotations"]["runbook_url"].startswith(RUNBOOK):
                    yield f"{rule['alert']}: its runbook_url is {rule['annotations']['runbook_url']}, not in {RUNBOOK}"
            if not prometheus[f"{what}Selector"]["matchLabels"].items() <= labels.items():
                yield f"Prometheus selects {prometheus[f'{what}Selector']['matchLabels']}, {kind} {metadata['name']} has {labels}"
            wanted = prometheus[f"{what}NamespaceSelector"].get("matchLabels", {})
            if not wanted.items() <= {"kubernetes.io/metadata.name": metadata["namespace"]}.items():
                yield f"Prometheus selects namespaces with {wanted}, {kind} {metadata['name']} is in {metadata['namespace']}"
    sidecar = stack()["grafana"]["sidecar"]["dashboards"]
    dashboards = [m for m in installed if m["kind"] == "ConfigMap" and any(name.endswith(".json") for name in m["data"])]
    if not dashboards:
        yield "no application installs a dashboard"
    for manifest in dashboards:
        metadata = manifest["metadata"]
        if metadata.get("labels", {}).get(sidecar["label"]) != sidecar["labelValue"]:
            yield f"Grafana selects {sidecar['label']}: {sidecar['labelValue']}, ConfigMap {metadata['name']} has {metadata.get('labels')}"
        if sidecar["folderAnnotation"] not in metadata.get("annotations", {}):
            yield f"ConfigMap {metadata['name']}: no annotation {sidecar['folderAnnotation']} for its folder"
    for manifest in installed:
        if manifest["kind"] == "NetworkPolicy":
            yield from _scrape_allowed(manifest, application["spec"]["destination"]["namespace"])


def _scrape_allowed(policy: Manifest, namespace: str) -> Iterator[str]:
    """A NetworkPolicy has to allow connections from Prometheus' namespace and from pods with the operator's label."""
    labels = {"app.kubernetes.io/name": "prometheus"}
    for rule in policy["spec"]["ingress"]:
        for peer in rule["from"]:
            selected = peer.get("podSelector", {}).get("matchLabels")
            where = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
            if selected and selected.items() <= labels.items() and where == namespace:
                return
    yield f"NetworkPolicy {policy['metadata']['name']}: Prometheus in {namespace} is not allowed to connect"


def node_ports() -> Iterator[tuple[str, int]]:
    """The ports of the nodes that the stack opens; 0 for a port that Kubernetes would choose."""
    for name in ("grafana", "prometheus", "alertmanager"):
        service = stack()[name].get("service", {})
        if service.get("type") == "NodePort":
            yield name, service.get("nodePort", 0)
            # The chart adds this port to both, unless it is 0.
            if name != "grafana" and service.get("reloaderWebPort", 8080):
                yield f"{name}'s reloader", 0


def secrets() -> Iterator[tuple[str, str]]:
    """The Secrets that Grafana and Alertmanager read, with the required keys."""
    admin, renderer = stack()["grafana"]["admin"], stack()["grafana"]["imageRenderer"]
    yield from ((admin["existingSecret"], admin[key]) for key in ("userKey", "passwordKey"))
    yield renderer["existingSecret"], "token"
    yield from ((name, "") for name in stack()["alertmanager"]["alertmanagerSpec"]["secrets"])

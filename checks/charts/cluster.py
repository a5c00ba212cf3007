"""The number of pods in an upgrade, with a stand-in for Kubernetes' API: `lookup` finds the Deployment that is running."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rendering import HELM, HELMS, Refused, helm, manifests, unreleased

KINDS = {
    "v1": ["Pod", "Service", "ServiceAccount"],
    "apps/v1": ["Deployment"],
    "autoscaling/v2": ["HorizontalPodAutoscaler"],
    "policy/v1": ["PodDisruptionBudget"],
}
DEPLOYMENT = "/apis/apps/v1/namespaces/main-api/deployments/main-api"


def resources(version: str) -> dict[str, Any]:
    """The API server's list of a group's kinds."""
    kinds = [{"name": f"{k.lower()}s", "singularName": k.lower(), "namespaced": True, "kind": k, "verbs": ["get", "list"]} for k in KINDS[version]]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": kinds}


def groups() -> dict[str, Any]:
    named = [(version.split("/")[0], {"groupVersion": version, "version": version.split("/")[1]}) for version in KINDS if "/" in version]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": n, "versions": [v], "preferredVersion": v} for n, v in named]}


class Api(BaseHTTPRequestHandler):
    running: int | None = None

    def do_GET(self) -> None:
        status, answer = self.answer()
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self) -> tuple[int, dict[str, Any]]:
        path = self.path.split("?")[0]
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version in KINDS:
            return 200, resources(version)
        if path == DEPLOYMENT and self.running is not None:
            owner = {"meta.helm.sh/release-name": "main-api", "meta.helm.sh/release-namespace": "main-api"}
            metadata = {"name": "main-api", "namespace": "main-api", "labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": owner}
            return 200, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": self.running}}
        found = {
            "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": groups(),
        }
        if path in found:
            return 200, found[path]
        return 404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}

    def log_message(self, *_: object) -> None:
        pass


def problems() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.NamedTemporaryFile("w") as config:
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        json.dump({"kind": "Config", "apiVersion": "v1", "current-context": "c", "clusters": [cluster], "contexts": [context],
                   "users": [{"name": "u", "user": {}}]}, config)  # fmt: skip
        config.flush()
        for running, autoscaled, wanted in ((None, True, 3), (1, True, 3), (5, True, 5), (5, False, 3), (None, False, 3)):
            Api.running = running
            for name, binary in HELMS.items():
                where = f"{name}, {running} pods running, autoscaling {autoscaled}"
                try:
                    text = helm(binary, "template", "main-api", HELM / "main-api", "--namespace", "main-api", "--kubeconfig", config.name,
                                "--dry-run=server", "--disable-openapi-validation", "--set", f"autoscaling.enabled={str(autoscaled).lower()}", *unreleased("main-api"))  # fmt: skip
                except Refused as refused:
                    yield f"{where}: {refused}"
                    continue
                replicas = next(m["spec"].get("replicas") for m in manifests(text) if m["kind"] == "Deployment")
                if replicas != wanted:
                    yield f"{where}: replicas is {replicas}, it should be {wanted}"
    server.shutdown()

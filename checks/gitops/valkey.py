"""helm/valkey/values.yaml: known keys, a safe pod, and the way from aux-service to the engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from rendering import HELM, Manifest
from sources import sources, undocumented, values


def chart_values() -> dict[str, Any]:
    return values(HELM / "valkey/values.yaml")


def unknown_keys() -> list[str]:
    return undocumented(chart_values(), "valkey")


def secret() -> tuple[str, str]:
    """The Secret and the key that hold the password of the user `default`."""
    auth = chart_values()["auth"]
    return auth["usersExistingSecret"], auth["aclUsers"]["default"].get("passwordKey", "default")


def unsafe() -> list[str]:
    """Settings without which the pod would run as root, be writable, grow without limit or respond without a password."""
    given = chart_values()
    pod, container = given["podSecurityContext"], given["securityContext"]
    demands = {
        "auth.enabled": given["auth"]["enabled"],
        "runAsNonRoot": pod["runAsNonRoot"] and container["runAsNonRoot"],
        "securityContext.readOnlyRootFilesystem": container["readOnlyRootFilesystem"],
        "securityContext.allowPrivilegeEscalation": not container["allowPrivilegeEscalation"],
        "securityContext.capabilities": container["capabilities"]["drop"] == ["ALL"],
        "podSecurityContext.seccompProfile": pod["seccompProfile"]["type"] == "RuntimeDefault",
        "resources.limits.memory": given["resources"]["limits"]["memory"],
        "initResources.limits.memory": given["initResources"]["limits"]["memory"],
        "networkPolicy.ingress": given["networkPolicy"]["ingress"],
        "deploymentStrategy": given["deploymentStrategy"] == "Recreate",
    }
    return [f"helm/valkey/values.yaml: {key} is not safe" for key, safe in demands.items() if not safe]


def unreachable(application: Manifest, aux: list[Manifest]) -> Iterator[str]:
    """aux-service's URL is the Service of this release, and both NetworkPolicies allow the connection."""
    release = next(s["helm"]["releaseName"] for s in sources(application) if "chart" in s)
    namespace = application["spec"]["destination"]["namespace"]
    deployment = next(m for m in aux if m["kind"] == "Deployment")
    pod = deployment["spec"]["template"]
    variables = {v["name"]: v.get("value", "") for v in pod["spec"]["containers"][0]["env"]}
    url = urlsplit(variables.get("SHARED_CACHE_URL", ""))
    # The chart names the Service after the release, and gives it the port 6379.
    if (url.hostname, url.port) != (f"{release}.{namespace}", 6379):
        yield f"aux-service's SHARED_CACHE_URL is {url.geturl()}, the Service of Valkey is {release}.{namespace}:6379"
    for name in ("SHARED_CACHE_PASSWORD_FILE", "SHARED_CACHE_KEY_FILE"):
        if name not in variables:
            yield f"aux-service has no {name}"
    arriving = chart_values()["networkPolicy"]["ingress"]
    if not _allowed(arriving, "from", deployment["metadata"]["namespace"], pod["metadata"]["labels"]):
        yield f"Valkey's NetworkPolicy does not allow connections from pods with {pod['metadata']['labels']}"
    leaving = next(m for m in aux if m["kind"] == "NetworkPolicy")["spec"]["egress"]
    if not _allowed(leaving, "to", namespace, {"app.kubernetes.io/name": "valkey", "app.kubernetes.io/instance": release}):
        yield "aux-service's NetworkPolicy does not allow connections to the pods of Valkey"


def _allowed(rules: list[dict[str, Any]], direction: str, namespace: str, labels: dict[str, str]) -> bool:
    return any(
        6379 in [port["port"] for port in rule["ports"]]
        and peer.get("namespaceSelector", {}).get("matchLabels") == {"kubernetes.io/metadata.name": namespace}
        and peer.get("podSelector", {}).get("matchLabels", {}).items() <= labels.items()
        for rule in rules
        for peer in rule[direction]
    )

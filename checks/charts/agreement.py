"""Values on which both charts must agree, and the sum of all pods' shares of the quota."""

from __future__ import annotations

import math
from collections.abc import Iterator
from urllib.parse import urlsplit

import yaml

from rendering import HELM, Manifest, Scenario, manifests, render


def problems(scenarios: list[Scenario]) -> list[str]:
    by_name = {str(scenario): scenario for scenario in scenarios}
    found = [*_address(by_name)]
    for scenario in scenarios:
        if scenario.chart == "aux-service":
            found += [f"{scenario}: {p}" for p in _quota(scenario)]
    return found


def _one(scenario: Scenario, kind: str) -> Manifest:
    return next(m for m in manifests(render(scenario)) if m["kind"] == kind)


def _variables(scenario: Scenario) -> dict[str, str]:
    container = _one(scenario, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def _address(by_name: dict[str, Scenario]) -> Iterator[str]:
    """main-api's URL is aux-service's Service, and both NetworkPolicies allow the connection."""
    aux, main = by_name["aux-service/admin-port"], by_name["main-api/admin-port"]
    service, url = _one(aux, "Service"), urlsplit(_variables(main)["AUX_URL"])
    metadata = service["metadata"]
    if (url.hostname, url.port) != (f"{metadata['name']}.{metadata['namespace']}", service["spec"]["ports"][0]["port"]):
        yield f"main-api's AUX_URL is {url.geturl()}, aux-service's Service is {metadata['name']}.{metadata['namespace']}"
    pods = {s.chart: (_one(s, "Deployment")["metadata"]["namespace"], _labels(s)) for s in (aux, main)}
    leaving = _one(main, "NetworkPolicy")["spec"]["egress"]
    if not any(_admits(peer, *pods["aux-service"]) and _has_port(rule, url.port) for rule in leaving for peer in rule["to"]):
        yield "main-api's NetworkPolicy does not allow connections to aux-service's pods"
    arriving = _one(aux, "NetworkPolicy")["spec"]["ingress"]
    if not any(_admits(peer, *pods["main-api"]) and _has_port(rule, "http") for rule in arriving for peer in rule["from"]):
        yield "aux-service's NetworkPolicy does not allow connections from main-api's pods"


def _labels(scenario: Scenario) -> dict[str, str]:
    labels: dict[str, str] = _one(scenario, "Deployment")["spec"]["template"]["metadata"]["labels"]
    return labels


def _admits(peer: Manifest, namespace: str, labels: dict[str, str]) -> bool:
    if "podSelector" not in peer or "namespaceSelector" not in peer:
        return False
    selected: bool = peer["podSelector"]["matchLabels"].items() <= labels.items()
    return selected and peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == namespace


def _has_port(rule: Manifest, port: object) -> bool:
    return port in [p["port"] for p in rule["ports"]]


def _quota(scenario: Scenario) -> Iterator[str]:
    """The largest possible number of pods stays within the account's quota, and uses at least 90 % of it. Pods that share it may
    use all of it together."""
    quota = yaml.safe_load((HELM / scenario.chart / "values.yaml").read_text())["aws"]["quota"]
    if scenario.values:
        quota |= yaml.safe_load(scenario.values.read_text()).get("aws", {}).get("quota", {})
    deployment = _one(scenario, "Deployment")["spec"]
    scaler = [m for m in manifests(render(scenario)) if m["kind"] == "HorizontalPodAutoscaler"]
    most = scaler[0]["spec"]["maxReplicas"] if scaler else deployment["replicas"]
    surge = str(deployment["strategy"]["rollingUpdate"]["maxSurge"])
    # Kubernetes rounds a percentage up.
    most += math.ceil(most * int(surge[:-1]) / 100) if surge.endswith("%") else int(surge)
    for key, variable in (("get", "AWS_RATE_GET"), ("list", "AWS_RATE_LIST")):
        together = float(_variables(scenario)[variable]) * most
        if together > quota[key] or together < 0.9 * quota[key]:
            yield f"{most} pods may make {together:g} calls a second together, aws.quota.{key} is {quota[key]}"
        shared = _variables(scenario).get(f"SHARED_{variable}")
        if shared and float(shared) != quota[key]:
            yield f"pods that share the quota may make {shared} calls a second together, aws.quota.{key} is {quota[key]}"

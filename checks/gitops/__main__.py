"""Checks Argo CD's applications without a cluster. With --download it also fetches and renders charts from chart repositories."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import engine
import monitoring
import page
import validation
import valkey
from outcome import told
from projects import problems as project_problems
from rendering import HELMS, KUBERNETES, Manifest, Refused
from scenarios import SCENARIOS, Scenario, applications, bootstrap, brought, installed, project, remote_charts
from sources import Unresolved, is_remote, links_outside, render, sources, value_files

DOWNLOAD = sys.argv[1:] == ["--download"]
Result = tuple[str, list[str]]


def named(application: Manifest) -> str:
    name: str = application["metadata"]["name"]
    return name


def everything(scenario: Scenario, download: bool = False) -> list[Manifest]:
    """The manifests of all applications; `download` includes charts from chart repositories."""
    return [m for application in applications(scenario)[1:] for m in installed(scenario, application, download=download)]


def rendered() -> Result:
    """The applications under both majors of Helm, and all of their sources in this repository."""
    problems = links_outside()
    count = 0
    for scenario in SCENARIOS:
        trees = [bootstrap(scenario, h) + brought(scenario, h) for h in HELMS]
        if trees[0] != trees[1]:
            problems.append(f"{scenario}: Helm 3 and Helm 4 differ")
        for application in applications(scenario):
            where = f"{scenario}: {named(application)}"
            for source in sources(application):
                count += 1
                try:
                    value_files(application, source)
                    if is_remote(source) or "ref" in source:
                        continue
                    first, second = (installed(scenario, application, h) for h in HELMS)
                    if not first:
                        problems.append(f"{where}: {source['path']} renders no manifest")
                    if first != second:
                        problems.append(f"{where}: Helm 3 and Helm 4 differ")
                except Unresolved as unresolved:
                    problems.append(f"{where}: {unresolved}")
    return f"{count} sources found and rendered as Argo CD does", problems


def downloaded() -> Result:
    """The charts from chart repositories."""
    problems = []
    for chart, (application, source) in remote_charts().items():
        try:
            render(application, source)
        except Unresolved as unresolved:
            problems.append(f"{chart} {source['targetRevision']}: {unresolved}")
    return f"{', '.join(remote_charts())} downloaded and rendered", problems


def types() -> Result:
    """Applications, projects, and the objects of Prometheus' operator."""
    found: dict[str, tuple[str, Manifest]] = {}
    for scenario in SCENARIOS:
        for manifest in [*bootstrap(scenario), *brought(scenario), *everything(scenario, DOWNLOAD)]:
            if manifest["apiVersion"].split("/")[0] in ("argoproj.io", "monitoring.coreos.com"):
                found.setdefault(json.dumps(manifest, sort_keys=True), (str(scenario), manifest))
    resources = [*found.values(), *(("helm/monitoring/values.yaml", spec) for spec in monitoring.specs())]
    return f"{len(resources)} custom resources against their types", validation.custom_resource_problems(resources)


def kubernetes() -> Result:
    """Manifests against Kubernetes' own types and against each other."""
    problems, count = [], 0
    for scenario in SCENARIOS:
        for application in applications(scenario)[1:]:
            ours = installed(scenario, application)
            count += len(ours)
            found = validation.kubernetes_problems(ours, KUBERNETES[-1]) + validation.reference_problems(ours)
            problems += [f"{scenario}: {named(application)}: {problem}" for problem in found]
    return f"{count} manifests against Kubernetes {KUBERNETES[-1]}, selectors and ports", problems


def within_projects() -> Result:
    problems = []
    for scenario in SCENARIOS:
        for application in applications(scenario):
            brings = installed(scenario, application, download=DOWNLOAD)
            try:
                found = list(project_problems(application, project(scenario, application), brings))
            except Unresolved as unresolved:
                found = [str(unresolved)]
            problems += [f"{scenario}: {named(application)}: {problem}" for problem in found]
    return "sources, destinations and kinds within the projects", problems


def autoscaled() -> Result:
    """Argo CD ignores replicas that an autoscaler sets, and no others. A new Deployment begins with the autoscaler's minimum."""
    problems = []
    for scenario in SCENARIOS:
        for application in applications(scenario)[1:]:
            scaled = any(m["kind"] == "HorizontalPodAutoscaler" for m in installed(scenario, application))
            ignored = any("/spec/replicas" in d.get("jsonPointers", []) for d in application["spec"].get("ignoreDifferences", []))
            respected = "RespectIgnoreDifferences=true" in application["spec"]["syncPolicy"]["syncOptions"]
            for scaler in (m for m in installed(scenario, application) if m["kind"] == "HorizontalPodAutoscaler"):
                found = next(m for m in installed(scenario, application) if m["kind"] == "Deployment")["spec"].get("replicas")
                if found != scaler["spec"]["minReplicas"]:
                    problems.append(f"{scenario}: {named(application)}: replicas is {found}, minReplicas {scaler['spec']['minReplicas']}")
            if not scaled == ignored == respected:
                problems.append(f"{scenario}: {named(application)}: autoscaled {scaled}, replicas ignored {ignored}, respected {respected}")
    return "replicas left to the autoscaler", problems


def stack_values() -> Result:
    return "keys of helm/monitoring/values.yaml, and Alertmanager's routes", monitoring.unknown_keys() + monitoring.routes()


def discovery() -> Result:
    problems = []
    for scenario in SCENARIOS:
        stack = next(a for a in applications(scenario) if named(a) == "monitoring")
        problems += [f"{scenario}: {p}" for p in monitoring.discovery(stack, everything(scenario))]
    return "Prometheus and Grafana find monitors, rules and dashboards", problems


def shared_cache() -> Result:
    """Keys of helm/valkey/values.yaml, the way between aux-service and the engine, and the engine under that configuration."""
    problems = valkey.unknown_keys() + valkey.unsafe() + engine.problems()
    found = 0
    for scenario in SCENARIOS:
        of = {named(a): a for a in applications(scenario)}
        if "valkey" in of:
            found += 1
            problems += [f"{scenario}: {p}" for p in valkey.unreachable(of["valkey"], installed(scenario, of["aux-service"]))]
    if not found:
        problems.append("no scenario installs the engine of the shared cache")
    return "aux-service reaches Valkey; a full engine evicts records, and no bucket or lock", problems


def _pod_secrets(spec: dict[str, Any]) -> list[tuple[str, str]]:
    """The Secrets that a pod needs to start, each with a key, or "" for the Secret itself."""
    found = [(secret["name"], "") for secret in spec.get("imagePullSecrets", [])]
    for container in spec["containers"] + spec.get("initContainers", []):
        references = [variable.get("valueFrom", {}).get("secretKeyRef") for variable in container.get("env", [])]
        found += [(r["name"], r["key"]) for r in references if r and not r.get("optional")]
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            found += [(volume["secret"]["secretName"], item["key"]) for item in volume["secret"].get("items", [{"key": ""}])]
    return found


def needed_secrets() -> set[tuple[str, str, str]]:
    """Namespace, name and key of all needed Secrets, without those that the CronJob of helm/ecr-credentials makes."""
    needed = {("monitoring", name, key) for name, key in monitoring.secrets()} | {("valkey", *valkey.secret())}
    made = set()
    for scenario in SCENARIOS:
        for manifest in everything(scenario):
            namespace, spec = manifest["metadata"].get("namespace", ""), manifest.get("spec", {})
            pod = spec.get("jobTemplate", {}).get("spec", spec).get("template", {}).get("spec")
            if not pod:
                continue
            needed |= {(namespace, name, key) for name, key in _pod_secrets(pod)}
            variables = {v["name"]: v.get("value", "") for c in pod["containers"] for v in c.get("env", [])}
            if manifest["kind"] == "CronJob":
                made |= {(target, variables["SECRET_NAME"], "") for target in variables["NAMESPACES"].split()}
    return needed - made


def install_page() -> Result:
    run = page.run()
    secrets = run.secrets()
    problems = [*run.problems, *page.patches(), *page.unset_variables(), *page.unknown_flags(), *page.unlabelled_namespaces()]
    for namespace, name, key in sorted(needed_secrets()):
        if (namespace, name) not in secrets:
            problems.append(f"docs/install.md does not make the Secret {name} in {namespace}")
        elif key and key not in secrets[namespace, name]:
            problems.append(f"docs/install.md makes the Secret {name} in {namespace} without the key {key}")
    problems += [
        f"docs/install.md: Argo CD ignores the Secret {name}, which has no label argocd.argoproj.io/secret-type"
        for namespace, name in secrets
        if namespace == "argocd" and not page.has_label(name, "argocd.argoproj.io/secret-type=repository")
    ]
    roots = [m["metadata"]["name"] for m in run.objects if m["kind"] == "Application"]
    if roots != ["cached-gateway"]:
        problems.append(f"docs/install.md applies the applications {roots}")
    shown = {named(a) for a in applications(SCENARIOS[0])}
    if page.listed_applications() != shown:
        problems.append(f"docs/install.md shows the applications {sorted(page.listed_applications())}, there are {sorted(shown)}")
    pinned = {chart: source["targetRevision"] for chart, (_, source) in remote_charts().items()}
    if page.versions() != pinned:
        problems.append(f"docs/install.md installs {page.versions()}, Argo CD {pinned}")
    problems += node_port_problems()
    return f"docs/install.md: {len(page.blocks())} blocks of commands run, {len(secrets)} Secrets", problems


def node_port_problems() -> list[str]:
    ports = [*page.node_ports(), *monitoring.node_ports()]
    for manifest in everything(SCENARIOS[0], DOWNLOAD):
        if manifest["kind"] == "Service" and manifest["spec"].get("type", "ClusterIP") != "ClusterIP":
            ports += [(manifest["metadata"]["name"], p.get("nodePort", 0)) for p in manifest["spec"]["ports"]]
    problems = [f"{name}: no row of docs/install.md's table has {port}" for name, port in ports if f"| {port} |" not in page.TEXT]
    # A downloaded chart renders the ports that its values name already.
    if not DOWNLOAD and len({port for _, port in ports}) != len(ports):
        problems.append(f"two Services have the same NodePort: {sorted(ports)}")
    return problems


def tree() -> None:
    for scenario in SCENARIOS:
        root, *children = applications(scenario)
        print(f"\n{scenario}: {named(root)} (project {root['spec']['project']})")
        for application in children:
            wave = application["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]
            where = ", ".join(
                f"{s['chart']} {s['targetRevision']}" if is_remote(s) else s.get("path") or f"${s['ref']}" for s in sources(application)
            )
            kinds = [m["kind"] for m in installed(scenario, application, download=DOWNLOAD)]
            counted = ", ".join(f"{kinds.count(k)} {k}" if kinds.count(k) > 1 else k for k in sorted(set(kinds))) or "not rendered"
            namespace = application["spec"]["destination"]["namespace"]
            print(f"  wave {wave:>2}  {named(application)} -> {namespace}: {where}\n           {counted}")
    if not DOWNLOAD:
        print("\nnot rendered: charts from chart repositories; checks/run.sh gitops --download fetches and renders them")


def main() -> int:
    checks: list[Callable[[], Result]] = [
        rendered, *([downloaded] if DOWNLOAD else []), types, kubernetes, within_projects, autoscaled,
        stack_values, discovery, shared_cache, install_page,
    ]  # fmt: skip
    failed = False
    for check in checks:
        began = time.monotonic()
        try:
            what, problems = check()
        except (Refused, Unresolved) as refused:
            what, problems = check.__name__, [str(refused)]
        failed |= told(f"{what} ({time.monotonic() - began:.1f} s)", problems, most=10)
        if problems and check in (rendered, downloaded):
            break  # The later checks would fail for the same reason.
    if not failed:
        tree()
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--download"]):
        sys.exit(f"unknown argument: {' '.join(sys.argv[1:])}; the only one is --download")
    os.environ.pop("KUBECONFIG", None)
    sys.exit(main())

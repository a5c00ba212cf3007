"""The ways to install all applications, each as the tree below the root application."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from rendering import HELM, HELMS, Manifest, helm, manifests
from sources import REPOSITORY, Unresolved, is_remote, render, sources

ENVIRONMENTS = sorted(path.stem for path in (HELM / "argocd/environments").glob("*.yaml"))

# All settings that add an application, a kind or an option.
EVERYTHING = (
    "images.renewPullSecret=true", "valkey.enabled=true",
    *(f"services.{service}.{setting}" for service in ("aux-service", "main-api") for setting in (
        "autoscaling.enabled=true", "networkPolicy.enabled=true", "ingress.enabled=true", "httpRoute.enabled=true",
        "httpRoute.parentRefs[0].name=gateway", "server.adminPort=9090", f"auth.tokensSecret.name={service}-tokens",
    )),
    "services.main-api.aux.tokenSecret.name=aux-service-token",
    "services.aux-service.embedded.buckets[0]=one", "services.aux-service.backend=embedded", "services.aux-service.environment=development",
)  # fmt: skip

# aux-service reads the queue of changes, and its pods share the engine that this repository installs.
CHANGES = (
    "valkey.enabled=true", "services.aux-service.networkPolicy.enabled=true",
    "services.aux-service.changeQueue.url=https://sqs.eu-west-2.amazonaws.com/123456789012/kantox-challenge-parameter-changes",
)  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    name: str
    environment: str
    settings: tuple[str, ...] = ()

    @property
    def extra(self) -> tuple[str, ...]:
        """The settings that an operator writes into helm/argocd/values.yaml."""
        images = "images.repository=123456789012.dkr.ecr.eu-west-2.amazonaws.com/kantox-challenge"
        return (f"repository={REPOSITORY}", images, *self.settings)

    def __str__(self) -> str:
        return self.name


SCENARIOS = [Scenario(name, name) for name in ENVIRONMENTS]
SCENARIOS += [Scenario("everything", "production", EVERYTHING), Scenario("changes", "production", CHANGES)]


@functools.cache
def bootstrap(scenario: Scenario, helm_name: str = "Helm 4") -> list[Manifest]:
    """The projects and the root application, which docs/install.md applies with kubectl."""
    arguments = ["template", "cached-gateway", str(HELM / "argocd"), "--namespace", "argocd"]
    arguments += ["--values", str(HELM / f"argocd/environments/{scenario.environment}.yaml")]
    for setting in scenario.extra:
        arguments += ["--set", setting]
    return manifests(helm(HELMS[helm_name], *arguments))


@functools.cache
def brought(scenario: Scenario, helm_name: str = "Helm 4") -> list[Manifest]:
    """The manifests of the root application."""
    root = next(m for m in bootstrap(scenario, helm_name) if m["kind"] == "Application")
    return [m for source in sources(root) for m in render(root, source, helm_name, scenario.extra)]


def applications(scenario: Scenario) -> list[Manifest]:
    """The root application, then its applications in the order of their waves."""

    def wave(application: Manifest) -> tuple[int, str]:
        metadata = application["metadata"]
        return int(metadata["annotations"]["argocd.argoproj.io/sync-wave"]), metadata["name"]

    root = [m for m in bootstrap(scenario) if m["kind"] == "Application"]
    return root + sorted((m for m in brought(scenario) if m["kind"] == "Application"), key=wave)


def remote_charts() -> dict[str, tuple[Manifest, Manifest]]:
    """The application and the source of each chart from a chart repository."""
    return {s["chart"]: (a, s) for scenario in SCENARIOS for a in applications(scenario) for s in sources(a) if is_remote(s)}


def project(scenario: Scenario, application: Manifest) -> Manifest:
    name = application["spec"]["project"]
    for manifest in brought(scenario):
        if manifest["kind"] == "AppProject" and manifest["metadata"]["name"] == name:
            return manifest
    raise Unresolved(f"no AppProject is called {name}")


@functools.cache
def _installed(scenario: Scenario, name: str, helm_name: str, download: bool) -> list[Manifest]:
    application = next(a for a in applications(scenario) if a["metadata"]["name"] == name)
    if application["metadata"]["name"] == applications(scenario)[0]["metadata"]["name"]:
        return brought(scenario, helm_name)
    return [
        manifest
        for source in sources(application)
        if "path" in source or (download and is_remote(source))
        for manifest in render(application, source, helm_name)
    ]


def installed(scenario: Scenario, application: Manifest, helm_name: str = "Helm 4", download: bool = False) -> list[Manifest]:
    """An application's manifests; those of charts from chart repositories only with `download`."""
    return _installed(scenario, application["metadata"]["name"], helm_name, download)

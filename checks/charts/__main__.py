"""Checks the charts without a cluster. With --update it writes the generated files and the snapshots instead."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import accepted
import agreement
import cluster
import dependency
import generated
import mistakes
import nulls
import packages
import policies
import registries
import snapshots
import validation
import yaml
from outcome import told
from rendering import CHARTS, HELM, HELMS, KUBERNETES, Manifest, Refused, Scenario, helm, manifests, render, scenarios, template

SCENARIOS = scenarios()
POOL = ThreadPoolExecutor(os.cpu_count())


def minor(version: str) -> int:
    return int(version.split(".")[1])


def generated_files() -> tuple[str, list[str]]:
    files = generated.files()
    problems = [
        f"{path.relative_to(HELM)} differs from its sources; run checks/run.sh charts --update"
        for path, text in files.items()
        if not path.exists() or path.read_text() != text
    ]
    for chart in CHARTS:
        parsed = json.loads(files[HELM / chart / "values.schema.json"])
        values = yaml.safe_load((HELM / chart / "values.yaml").read_text())
        problems += [f"{chart}/values.schema.json: {where} accepts any key" for where in generated.open_objects(parsed)]
        problems += [f"{chart}/values.schema.json: {where} is not in values.yaml" for where in generated.undocumented(parsed, values)]
    return f"{len(files)} generated files: values, schemas and README.md", problems


def lint() -> tuple[str, list[str]]:
    def one(job: tuple[str, Scenario]) -> str | None:
        helm_name, scenario = job
        values = ("--values", scenario.values) if scenario.values else ()
        try:
            helm(HELMS[helm_name], "lint", "--strict", "--quiet", HELM / scenario.chart, *values)
        except Refused as refused:
            return f"{scenario} under {helm_name}: {refused}"
        return None

    jobs = [(helm_name, scenario) for helm_name in HELMS for scenario in SCENARIOS]
    return f"{len(jobs)} runs of helm lint --strict", [p for p in POOL.map(one, jobs) if p]


def package_files() -> tuple[str, list[str]]:
    return f"{len(CHARTS)} packages: chart-testing's rules for YAML, and their README.md", packages.problems()


def renders() -> tuple[str, list[str]]:
    """Helm 4 renders for every Kubernetes, Helm 3 for the oldest and the newest; later checks validate the manifests."""

    def one(job: tuple[Scenario, str, str]) -> str | None:
        scenario, helm_name, version = job
        where = f"{scenario} under {helm_name} for Kubernetes {version}"
        try:
            text = render(scenario, helm_name, version)
        except Refused as refused:
            wanted = minor(version) < minor(scenario.since) and scenario.since in str(refused)
            return None if wanted else f"{where}: {refused}"
        if minor(version) < minor(scenario.since):
            return f"{where}: should be rejected, because it needs {scenario.since}"
        if manifests(text) != manifests(render(scenario, "Helm 4", version)):
            return f"{where}: Helm 3 and Helm 4 differ"
        return None

    # Helm 3 skips the versions in between: the templates' comparison of versions is the same.
    jobs = [(s, "Helm 4", v) for v in KUBERNETES for s in SCENARIOS]
    jobs += [(s, "Helm 3", v) for v in (KUBERNETES[0], KUBERNETES[-1]) for s in SCENARIOS]
    return f"{len(jobs)} renders: {len(SCENARIOS)} scenarios for Kubernetes {KUBERNETES[0]} to {KUBERNETES[-1]}", [
        p for p in POOL.map(one, jobs) if p
    ]


def determinism() -> tuple[str, list[str]]:
    def one(scenario: Scenario) -> str | None:
        values = ("--values", scenario.values) if scenario.values else ()
        again = template("Helm 4", scenario.chart, "--kube-version", KUBERNETES[-1], *values)
        return None if again == render(scenario) else f"{scenario}: two renders differ"

    return f"{len(SCENARIOS)} scenarios rendered twice", [p for p in POOL.map(one, SCENARIOS) if p]


def rendered(version: str) -> Iterable[tuple[str, list[Manifest]]]:
    for scenario in SCENARIOS:
        if minor(version) >= minor(scenario.since):
            yield str(scenario), manifests(render(scenario, kubernetes=version))


def kubernetes() -> tuple[str, list[str]]:
    problems, counted = [], 0
    for version in KUBERNETES:
        for name, found in rendered(version):
            counted += len(found)
            problems += [f"{name} on {version}: {p}" for p in validation.kubernetes_problems(found, version)]
    return f"{counted} manifests against Kubernetes {KUBERNETES[0]} to {KUBERNETES[-1]}, strictly", problems


def custom_resources() -> tuple[str, list[str]]:
    found = [(name, m) for name, ms in rendered(KUBERNETES[-1]) for m in ms if validation.is_custom(m)]
    kinds = sorted({m["kind"] for _, m in found})
    missing = {"HTTPRoute", "Middleware", "ServiceMonitor"} - set(kinds)
    problems = [f"no scenario renders a {kind}" for kind in missing]
    problems += [f"{name}: {p}" for name, manifest in found for p in validation.missing_defaults(manifest)]
    return f"{len(found)} custom resources ({', '.join(kinds)})", problems + validation.custom_resource_problems(found)


def references() -> tuple[str, list[str]]:
    return "selectors, ports and volumes", [
        f"{name}: {p}" for name, ms in rendered(KUBERNETES[-1]) for p in validation.reference_problems(ms)
    ]


def agreements() -> tuple[str, list[str]]:
    return "main-api finds aux-service, and all pods stay within AWS's quota", agreement.problems(SCENARIOS)


def wrong_values() -> tuple[str, list[str]]:
    wrong = mistakes.mistakes()
    return f"{len(wrong)} mistakes rejected by both Helms", [p for ps in POOL.map(mistakes.problems, wrong) for p in ps]


def right_values() -> tuple[str, list[str]]:
    right = accepted.accepted()
    return f"{len(right)} sets of values accepted by both Helms", [p for ps in POOL.map(accepted.problems, right) for p in ps]


def null_values() -> tuple[str, list[str]]:
    cases = [case for chart in CHARTS for case in nulls.cases(chart)]
    return f"null in the place of each of {len(cases)} values", [p for ps in POOL.map(nulls.problems, cases) for p in ps]


def dependencies() -> tuple[str, list[str]]:
    return "the charts as dependencies: condition, tags, alias, null", dependency.problems()


def running() -> tuple[str, list[str]]:
    return "an upgrade preserves the number of pods that an autoscaler has set", list(cluster.problems())


def registry_hosts() -> tuple[str, list[str]]:
    hosts = registries.accepted()
    return f"{len(hosts)} registries in the kubelet's file", registries.problems(hosts)


def committed() -> tuple[str, list[str]]:
    files = snapshots.expected_files(SCENARIOS)
    problems = snapshots.problems(files)
    if problems:
        problems.append("if the change is intended, run checks/run.sh charts --update and commit the difference")
    return f"{len(files)} snapshots", problems


def known_policies() -> tuple[str, list[str]]:
    passed, problems = policies.problems(SCENARIOS)
    return f"{passed} policy checks (checkov)", problems


def table() -> None:
    print(f"\n{'scenario':36}" + "".join(f"{v:>6}" for v in KUBERNETES))
    for scenario in SCENARIOS:
        marks = ("ok" if minor(v) >= minor(scenario.since) else "-" for v in KUBERNETES)
        print(f"{scenario!s:36}" + "".join(f"{mark:>6}" for mark in marks))
    print("-: rejected at install, with a message that names the required version\n")


def main() -> int:
    if sys.argv[1:] == ["--update"]:
        for path, text in generated.files().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        snapshots.write(snapshots.expected_files(SCENARIOS))
        return 0
    checks: list[Callable[[], tuple[str, list[str]]]] = [
        generated_files, lint, package_files, renders, determinism, kubernetes, custom_resources, references, agreements, wrong_values,
        right_values, null_values, dependencies, running, registry_hosts, known_policies, committed,
    ]  # fmt: skip
    failed = False
    for check in checks:
        began = time.monotonic()
        what, problems = check()
        failed |= told(f"{what} ({time.monotonic() - began:.1f} s)", problems, most=10)
        if problems and check in (generated_files, lint, renders):
            break  # The later checks would fail for the same reason.
    if not failed:
        table()
    return 1 if failed else 0


sys.exit(main())

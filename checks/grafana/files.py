"""Checks dashboards, rules and their kustomization as files, without starting a service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dashboards import DASHBOARDS, ROOT, RULES, SAMPLE, filled, panels, queries, rules
from outcome import all_told
from reachable import reachable

HERE = Path(__file__).resolve().parent

RUNBOOK = "docs/runbook.md"
# The lines of a screen, and the parts of each entry.
SCREEN = 35
PARTS = ["Meaning", "Look at", "Do"]
# Names that AWS has for its settings. They stand in quotes like panels.
OF_AWS = {"higher throughput"}
# An address of the runbook, and the patch with which helm/argocd sets it.
ADDRESS = f"https://git.example.com/team/cached-gateway/blob/main/{RUNBOOK}"
PATCH = {"target": {"kind": "ConfigMap", "name": "runbook"}, "patch": f"- op: replace\n  path: /data/url\n  value: {ADDRESS}\n"}


def typed() -> Iterator[str]:
    """Dashboards have Grafana's own types, and expressions have PromQL's grammar."""
    given = [
        {
            "name": name,
            "dashboard": dashboard,
            "expressions": [filled(query.expression, SAMPLE) for query in queries() if query.dashboard == name],
        }
        for name, dashboard in DASHBOARDS.items()
    ]
    done = subprocess.run(["node", HERE / "types.mjs"], input=json.dumps(given), capture_output=True, text=True)
    if done.returncode:
        yield from (done.stdout or done.stderr).splitlines()


def readable() -> Iterator[str]:
    """Panels have a description, a unit and thresholds, and nothing of another Grafana."""
    if not DASHBOARDS:
        yield "dashboards/ has no dashboard"
    for name, dashboard in DASHBOARDS.items():
        where = f"dashboards/{name}.json"
        if dashboard["uid"] != name:
            yield f"{where}: its uid is {dashboard['uid']}"
        variables = {variable["name"] for variable in dashboard["templating"]["list"]}
        if missing := {"datasource", "job", "namespace", "pod"} - variables:
            yield f"{where}: the variable {', '.join(sorted(missing))} is missing"
        linked = {link["url"].removeprefix("/d/") for link in dashboard["links"]}
        if linked != set(DASHBOARDS) - {name}:
            yield f"{where}: the links lead to {sorted(linked)}"
        identifiers = [panel["id"] for panel in dashboard["panels"]]
        if len(identifiers) != len(set(identifiers)):
            yield f"{where}: two panels have one id"
        for panel in panels(dashboard):
            title = f"{where}: {panel['title']}"
            if len(panel.get("description", "")) < 20:
                yield f"{title}: the description is missing or too short"
            defaults = panel["fieldConfig"]["defaults"]
            if "unit" not in defaults or "thresholds" not in defaults:
                yield f"{title}: the unit or the thresholds are missing"
            for place in [panel, *panel["targets"]]:
                if place["datasource"]["uid"] != "${datasource}":
                    yield f"{title}: the data source is {place['datasource']}"
            for target in panel["targets"]:
                used = set(re.findall(r"\$([a-z_]\w*)", target["expr"])) - {"__rate_interval", "__range"}
                if unknown := used - variables:
                    yield f"{title}: the expression uses ${', $'.join(unknown)}, and the dashboard has no such variable"


def documented() -> Iterator[str]:
    """Each alert has a severity, texts, an entry in the runbook, a test that it fires and a test that it is silent."""
    runbook = (ROOT / RUNBOOK).read_text()
    entries = set(re.findall(r"^## (\w+)$", runbook, re.MULTILINE))
    tests = yaml.safe_load((ROOT / "grafana/rules.test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", [])]
    alerts = {rule["alert"]: rule for rule in rules() if "alert" in rule}
    for name, rule in alerts.items():
        if rule["labels"].get("severity") not in ("critical", "warning"):
            yield f"{name}: the severity is neither critical nor warning"
        for annotation in ("summary", "description"):
            if not rule["annotations"].get(annotation):
                yield f"{name}: the {annotation} is missing"
        if rule["annotations"].get("runbook_url") != f"{RUNBOOK}#{name.lower()}":
            yield f"{name}: the runbook_url is not {RUNBOOK}#{name.lower()}"
        of_it = [case for case in cases if case["alertname"] == name]
        if not any(case["exp_alerts"] for case in of_it) or all(case["exp_alerts"] for case in of_it):
            yield f"{name}: rules.test.yaml lacks a test that it fires, or a test that it is silent"
    for name in alerts.keys() ^ entries:
        yield f"{name}: grafana/rules.yaml and {RUNBOOK} do not both have it"
    for link in re.findall(r"\]\(#(\w+)\)", runbook):
        if link not in {entry.lower() for entry in entries}:
            yield f"{RUNBOOK}: the link #{link} has no entry"


def concise() -> Iterator[str]:
    """Each entry of the runbook fits on a screen, has its three parts in order, and names panels that exist."""
    titles = {panel["title"] for dashboard in DASHBOARDS.values() for panel in panels(dashboard)}
    for entry in re.split(r"^## ", (ROOT / RUNBOOK).read_text(), flags=re.MULTILINE)[1:]:
        name, text = entry.split("\n", 1)
        if (length := len(entry.rstrip().splitlines())) > SCREEN:
            yield f"{name}: the entry has {length} lines, a screen has {SCREEN}"
        if (parts := re.findall(r"^\*\*(\w+(?: at)?)\.?\*\*", text, re.MULTILINE)) != PARTS:
            yield f"{name}: the entry has the parts {parts}, not {PARTS}"
        prose = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
        for title in sorted(set(re.findall(r'"([^"]+)"', prose)) - titles - OF_AWS):
            yield f"{name}: no dashboard has the panel {title}"


def tested() -> Iterator[str]:
    """promtool accepts the rules, and each alert fires in time."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules.yml").write_text(yaml.safe_dump(RULES["spec"], sort_keys=False))
        (Path(folder) / "tests.yml").write_text((ROOT / "grafana/rules.test.yaml").read_text())
        for command in (["check", "rules", "rules.yml"], ["test", "rules", "tests.yml"]):
            done = subprocess.run(["promtool", *command], cwd=folder, capture_output=True, text=True)
            if done.returncode:
                yield f"promtool {' '.join(command)}: {done.stdout}{done.stderr}"


def kustomized(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"kubectl kustomize: {done.stderr}")
    return list(yaml.safe_load_all(done.stdout))


def applied() -> Iterator[str]:
    """The kustomization carries each dashboard and each rule, with the labels that Grafana and Prometheus select by."""
    objects = kustomized(ROOT / "grafana")
    carried = {}
    for item in objects:
        labels = item["metadata"].get("labels", {})
        if item["kind"] == "ConfigMap":
            if labels.get("grafana_dashboard") != "1":
                yield f"{item['metadata']['name']}: the label grafana_dashboard is missing"
            carried |= {key.removesuffix(".json"): json.loads(text) for key, text in item["data"].items() if key.endswith(".json")}
        elif item["kind"] == "PrometheusRule" and labels.get("release") != "prometheus":
            yield "PrometheusRule: the label release: prometheus is missing"
    if carried != DASHBOARDS:
        yield "the kustomization changes or lacks a dashboard"
    if sorted(item["kind"] for item in objects) != ["ConfigMap"] * len(DASHBOARDS) + ["PrometheusRule"]:
        yield f"the kustomization has {[item['kind'] for item in objects]}"


def linked() -> Iterator[str]:
    """Each alert links to its entry at the address that kustomization.yaml has, and at the address of a patch by Argo CD."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "grafana"
        shutil.copytree(ROOT / "grafana", folder)
        file = folder / "kustomization.yaml"
        given = yaml.safe_load(file.read_text())
        literals = [literal for source in given["configMapGenerator"] for literal in source.get("literals", [])]
        yield from wrong_links(folder, literals[0].removeprefix("url="))
        # Argo CD adds an application's patches to the file.
        file.write_text(yaml.safe_dump(given | {"patches": [PATCH]}))
        yield from wrong_links(folder, ADDRESS)


def wrong_links(folder: Path, address: str) -> Iterator[str]:
    if not re.fullmatch(rf"https://[^/ ]+/\S+/{RUNBOOK}", address):
        yield f"kustomization.yaml: {address} is not the address of {RUNBOOK}"
    [prometheus_rule] = [item for item in kustomized(folder) if item["kind"] == "PrometheusRule"]
    for rule in (rule for group in prometheus_rule["spec"]["groups"] for rule in group["rules"] if "alert" in rule):
        wanted = f"{address}#{rule['alert'].lower()}"
        if (found := rule["annotations"].get("runbook_url")) != wanted:
            yield f"{rule['alert']}: the runbook_url is {found}, not {wanted}"


def main() -> int:
    return all_told((readable, typed, documented, concise, tested, reachable, applied, linked))


if __name__ == "__main__":
    sys.exit(main())

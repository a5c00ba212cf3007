"""Checks dashboards, rules and their kustomization as files, without a server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from dashboards import DASHBOARDS, ROOT, RULES, SAMPLE, filled, panels, queries, rules

HERE = Path(__file__).resolve().parent


def typed() -> Iterator[str]:
    """Grafana's own types, and PromQL's grammar."""
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
    """Links, titles, units and variables of every dashboard, and no leftovers of another Grafana."""
    if not DASHBOARDS:
        yield "there are no dashboards"
    for name, dashboard in DASHBOARDS.items():
        where = f"dashboards/{name}.json"
        if dashboard["uid"] != name:
            yield f"{where}: its uid is {dashboard['uid']}"
        variables = {variable["name"] for variable in dashboard["templating"]["list"]}
        if missing := {"datasource", "job", "namespace", "pod"} - variables:
            yield f"{where}: no variable {', '.join(sorted(missing))}"
        linked = {link["url"].removeprefix("/d/") for link in dashboard["links"]}
        if linked != set(DASHBOARDS) - {name}:
            yield f"{where}: it links to {sorted(linked)}"
        identifiers = [panel["id"] for panel in dashboard["panels"]]
        if len(identifiers) != len(set(identifiers)):
            yield f"{where}: two panels have one id"
        for panel in panels(dashboard):
            title = f"{where}: {panel['title']}"
            if len(panel.get("description", "")) < 20:
                yield f"{title}: no description"
            defaults = panel["fieldConfig"]["defaults"]
            if "unit" not in defaults or "thresholds" not in defaults:
                yield f"{title}: no unit, or no thresholds"
            for place in [panel, *panel["targets"]]:
                if place["datasource"]["uid"] != "${datasource}":
                    yield f"{title}: the data source is {place['datasource']}"
            for target in panel["targets"]:
                used = set(re.findall(r"\$([a-z_]\w*)", target["expr"])) - {"__rate_interval", "__range"}
                if unknown := used - variables:
                    yield f"{title}: it uses ${', $'.join(unknown)}, which is no variable"


def documented() -> Iterator[str]:
    """Each alert has annotations, an entry in the runbook, and a test that it fires and one that it does not."""
    runbook = (ROOT / "docs/runbook.md").read_text()
    entries = set(re.findall(r"^## (\w+)$", runbook, re.MULTILINE))
    tests = yaml.safe_load((ROOT / "grafana/rules.test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", [])]
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    for rule in rules():
        name = rule.get("alert")
        if not name:
            continue
        if rule["labels"].get("severity") not in ("critical", "warning"):
            yield f"{name}: its severity is neither critical nor warning"
        for annotation in ("summary", "description"):
            if not rule["annotations"].get(annotation):
                yield f"{name}: no {annotation}"
        if rule["annotations"].get("runbook") != f"docs/runbook.md#{name.lower()}":
            yield f"{name}: its runbook is not docs/runbook.md#{name.lower()}"
    for name in alerts:
        of_it = [case for case in cases if case["alertname"] == name]
        if not any(case["exp_alerts"] for case in of_it) or all(case["exp_alerts"] for case in of_it):
            yield f"{name}: no test that it fires, or none that it does not"
    for name in alerts ^ entries:
        yield f"docs/runbook.md and the alerts disagree about {name}"
    for link in re.findall(r"\]\(#(\w+)\)", runbook):
        if link not in {entry.lower() for entry in entries}:
            yield f"docs/runbook.md: it links to #{link}, which does not exist"


def tested() -> Iterator[str]:
    """promtool: the rules are well-formed, and each fires when it should."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules.yml").write_text(yaml.safe_dump(RULES["spec"], sort_keys=False))
        (Path(folder) / "tests.yml").write_text((ROOT / "grafana/rules.test.yaml").read_text())
        for command in (["check", "rules", "rules.yml"], ["test", "rules", "tests.yml"]):
            done = subprocess.run(["promtool", *command], cwd=folder, capture_output=True, text=True)
            if done.returncode:
                yield f"promtool {' '.join(command)}: {done.stdout}{done.stderr}"


def applied() -> Iterator[str]:
    """The objects of `kubectl apply -k grafana/`."""
    done = subprocess.run(["kubectl", "kustomize", ROOT / "grafana"], capture_output=True, text=True)
    if done.returncode:
        yield f"kubectl kustomize: {done.stderr}"
        return
    objects = list(yaml.safe_load_all(done.stdout))
    carried = {}
    for item in objects:
        labels = item["metadata"].get("labels", {})
        if item["kind"] == "ConfigMap":
            if labels.get("grafana_dashboard") != "1":
                yield f"{item['metadata']['name']}: the label grafana_dashboard, by which Grafana's sidecar selects, is missing"
            carried |= {key.removesuffix(".json"): json.loads(text) for key, text in item["data"].items()}
        elif item["kind"] == "PrometheusRule" and labels.get("release") != "prometheus":
            yield "the PrometheusRule has no label release: prometheus"
    if carried != DASHBOARDS:
        yield "the kustomization does not contain every dashboard unchanged"
    if sorted(item["kind"] for item in objects) != ["ConfigMap"] * len(DASHBOARDS) + ["PrometheusRule"]:
        yield f"the kustomization contains {[item['kind'] for item in objects]}"


def main() -> int:
    failed = False
    for check in (readable, typed, documented, tested, applied):
        problems = list(check())
        failed |= bool(problems)
        print(f"{'failed' if problems else 'ok':6} {check.__doc__.splitlines()[0]}", *problems, sep="\n         ")
    return failed


if __name__ == "__main__":
    sys.exit(main())

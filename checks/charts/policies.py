"""checkov's policies for the rendered charts, without the exceptions in policies.yaml."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml
from rendering import Scenario, render


def problems(scenarios: list[Scenario]) -> tuple[int, list[str]]:
    """The number of passed checks, and the problems."""
    with tempfile.TemporaryDirectory() as folder:
        for scenario in scenarios:
            Path(folder, f"{scenario.chart}_{scenario.name}.yaml").write_text(render(scenario))
        done = subprocess.run(
            [os.environ["CHECKOV"], "--directory", folder, "--framework", "kubernetes", "--skip-download", "--output", "json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    report = json.loads(done.stdout)
    passed = report["summary"]["passed"]
    if not passed or report["summary"]["parsing_errors"]:
        return passed, [f"checkov could not read the renders: {report['summary']}"]
    return passed, _judged(report["results"]["failed_checks"])


def _judged(failed: list[dict[str, Any]]) -> list[str]:
    exceptions = yaml.safe_load(Path(__file__).with_name("policies.yaml").read_text())
    used: set[str] = set()
    found = []
    for failure in failed:
        allowed = [
            e["check"] for e in exceptions
            if e["check"] == failure["check_id"] and re.fullmatch(e["resources"], failure["resource"])
        ]  # fmt: skip
        used.update(allowed)
        if not allowed:
            found.append(f"{failure['file_path']}: {failure['resource']}: {failure['check_id']}: {failure['check_name']}")
    unused = [e["check"] for e in exceptions if e["check"] not in used]
    return found + [f"policies.yaml: no failure needs the exception for {check}" for check in unused]

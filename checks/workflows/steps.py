"""The workflows as data, and a way to run the shell of one step as GitHub does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]

Workflow = dict[str, Any]


def workflow(name: str) -> Workflow:
    loaded: Workflow = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())
    # YAML 1.1 reads the key `on` as true.
    loaded["on"] = loaded.pop(True)  # type: ignore[call-overload]
    return loaded


def step(file: str, job: str, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [s for s in workflow(file)["jobs"][job]["steps"] if s.get("name") == name]
    if len(found) != 1:
        raise LookupError(f"{file}: {job} has {len(found)} steps named {name!r}")
    return found[0]


def run(file: str, job: str, name: str, folder: Path, values: dict[str, str], machine: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs one step. `values` replaces all of the step's expressions; `machine` has the variables of the runner."""
    found = step(file, job, name)
    environment = {key: str(value) for key, value in found.get("env", {}).items()}
    expressions = {key for key, value in environment.items() if "${{" in value}
    if expressions != values.keys():
        raise LookupError(f"{file}: {name!r} takes {sorted(expressions)}, the test gives {sorted(values)}")
    if "${{" in found["run"]:
        raise ValueError(f"{file}: {name!r} puts an expression into its shell; it belongs into env")
    # GitHub's own way to run `shell: bash`.
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]],
        cwd=folder,
        env=os.environ | (machine or {}) | environment | values,
        capture_output=True,
        text=True,
        timeout=120,
    )

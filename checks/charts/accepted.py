"""Helm has to accept right values and render them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from rendering import HELMS, KUBERNETES, Refused, template


def accepted() -> list[dict[str, Any]]:
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())


def problems(case: dict[str, Any]) -> list[str]:
    found = []
    for helm_name in HELMS:
        label = f"{case['chart']} {' '.join(case['set'])} under {helm_name}"
        try:
            text = template(helm_name, case["chart"], "--kube-version", KUBERNETES[-1], *(a for s in case["set"] for a in ("--set", s)))
        except Refused as refused:
            found.append(f"{label}: {refused}")
            continue
        found += [f"{label}: the render does not contain {shown!r}" for shown in case.get("shows", []) if shown not in text]
        found += [f"{label}: the render contains {hidden!r}" for hidden in case.get("hides", []) if hidden in text]
    return found

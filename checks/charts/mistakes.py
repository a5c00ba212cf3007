"""Helm has to reject wrong values with a message that names them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from rendering import HELMS, KUBERNETES, Refused, template


def mistakes() -> list[dict[str, Any]]:
    return yaml.safe_load((Path(__file__).parent / "mistakes.yaml").read_text())


def message(mistake: dict[str, Any], helm_name: str) -> str | None:
    """Helm's message for these values, or None if Helm accepts them."""
    arguments = ["--kube-version", mistake.get("kubernetes", KUBERNETES[-1])]
    for setting in mistake["set"]:
        arguments += ["--set", setting]
    try:
        template(helm_name, mistake["chart"], *arguments)
    except Refused as refused:
        # The text before is the path through the templates.
        return re.sub(r"(?s)^.*error calling (fail|include): ", "", str(refused))
    return None


def problems(mistake: dict[str, Any]) -> list[str]:
    found = []
    for helm_name in HELMS:
        label = f"{mistake['chart']} {' '.join(mistake['set']) or '(defaults)'} under {helm_name}"
        said = message(mistake, helm_name)
        if said is None:
            found.append(f"{label}: was accepted")
            continue
        for named in mistake["named"]:
            # One alternative is enough, because the two majors of Helm word a schema's errors differently.
            if not any(alternative in said for alternative in named.split("|")):
                found.append(f"{label}: the message does not contain {named!r}: {said}")
        found += [f"{label}: the message contains {word!r}" for word in mistake.get("hidden", []) if word in said]
    return found

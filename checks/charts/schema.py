"""helm/<chart>/values.schema.json: the schema that the charts share, merged with the chart's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from rendering import CHARTS, HELM, SERVICES


def merge(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(shared)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def generated() -> dict[Path, str]:
    shared = yaml.safe_load((HELM / "common/values.schema.yaml").read_text())
    files = {}
    for chart in CHARTS:
        own = yaml.safe_load((HELM / chart / "values.schema.yaml").read_text())
        # A chart that is no service shares the form of values, not the values.
        base = shared if chart in SERVICES else shared | {"properties": {k: shared["properties"][k] for k in ("global", "common")}}
        files[HELM / chart / "values.schema.json"] = json.dumps(merge(base, own), indent=2) + "\n"
    return files


def open_objects(schema: Any, path: str = "") -> list[str]:
    """Where an object takes any key, so that a misspelt one would pass."""
    if isinstance(schema, list):
        return [found for index, item in enumerate(schema) for found in open_objects(item, f"{path}[{index}]")]
    if not isinstance(schema, dict):
        return []
    here = [path] if schema.get("type") == "object" and "additionalProperties" not in schema else []
    return here + [found for key, value in schema.items() for found in open_objects(value, f"{path}/{key}")]


def undocumented(schema: dict[str, Any], values: dict[str, Any], path: str = "") -> list[str]:
    """Settings that the schema allows and values.yaml, where their comment would be, does not have."""
    missing = []
    for key, setting in schema.get("properties", {}).items():
        where = f"{path}.{key}".lstrip(".")
        if key not in values:
            missing.append(where)
        elif isinstance(values[key], dict) and values[key]:
            missing += undocumented(setting, values[key], where)
    return [name for name in missing if name not in ("global", "common")]

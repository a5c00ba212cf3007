"""The generated files of the charts: values.yaml of both services, and README.md, defaults.json, values.schema.json and charts/common.

Both charts share four fifths of their values, and Helm has no way to share them in one file: values that a library chart
exports (`import-values`) are missing in `helm show values`, and a schema cannot refer to another file (`$ref`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from entries import Entry, entries
from readmes import readme
from rendering import CHARTS, HELM, SERVICES

# Values that Helm or a parent chart adds.
OF_HELM = ("global", "common", "tags")


def files() -> dict[Path, str]:
    """The path and content of each generated file."""
    generated = {HELM / chart / "values.yaml": _values(chart) for chart in SERVICES}
    for chart in CHARTS:
        values = HELM / chart / "values.yaml"
        text = generated.get(values) or values.read_text()
        generated[HELM / chart / "defaults.json"] = _json(yaml.safe_load(text))
        generated[HELM / chart / "values.schema.json"] = _json(_with_null(_schema(chart)))
        generated[HELM / chart / "charts/common/Chart.yaml"] = (HELM / "common/Chart.yaml").read_text()
        generated[HELM / chart / "charts/common/templates/_common.tpl"] = _library()
        # A release writes no README.md, so its image is not a part of it.
        generated[HELM / chart / "README.md"] = readme(chart, _defaults(chart) if chart in SERVICES else text)
    return generated


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def _library() -> str:
    """All templates of the library chart. A link to its folder would work too, but Helm reports a link on every run."""
    files = sorted((HELM / "common/templates").glob("*.tpl"))
    return "".join(f"{{{{/* Generated from helm/common/templates/{file.name} */}}}}\n{file.read_text().strip()}\n\n" for file in files)


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with null as a value of every setting; common.normalise replaces it."""
    definitions = schema["definitions"]
    nullable: dict[str, Any] = {}

    def or_null(setting: dict[str, Any]) -> dict[str, Any]:
        setting = inside(setting)
        if "$ref" in setting:
            name = setting["$ref"].rpartition("/")[2]
            if f"{name}OrNull" not in nullable:
                nullable[f"{name}OrNull"] = {}
                nullable[f"{name}OrNull"] = or_null(definitions[name])
            return {"$ref": f"#/definitions/{name}OrNull"}
        if "enum" in setting:
            return setting | {"enum": [*setting["enum"], None]}
        types = setting["type"] if isinstance(setting["type"], list) else [setting["type"]]
        return setting | {"type": [*types, "null"] if "null" not in types else types}

    def inside(setting: dict[str, Any]) -> dict[str, Any]:
        changed = dict(setting)
        for keyword in ("properties", "patternProperties"):
            if keyword in setting:
                changed[keyword] = {key: or_null(value) for key, value in setting[keyword].items()}
        if isinstance(setting.get("additionalProperties"), dict):
            changed["additionalProperties"] = or_null(setting["additionalProperties"])
        if "items" in setting:
            changed["items"] = inside(setting["items"])
        return changed

    top = inside({key: value for key, value in schema.items() if key != "definitions"})
    used = {name: inside(definition) for name, definition in definitions.items()} | nullable
    return top | {"definitions": _reachable(top, used)}


def _reachable(schema: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The definitions that the schema refers to, directly or through others."""
    names: set[str] = set()
    pending = [schema]
    while pending:
        for name in re.findall(r"#/definitions/(\w+)", json.dumps(pending.pop())):
            if name not in names:
                names.add(name)
                pending.append(definitions[name])
    return {name: definition for name, definition in sorted(definitions.items()) if name in names}


def _values(chart: str) -> str:
    """The values of a service's chart, with the image that a release has written."""
    text = _defaults(chart)
    committed = HELM / chart / "values.yaml"
    released = yaml.safe_load(committed.read_text())["image"] if committed.exists() else {}
    for key in ("tag", "digest"):
        text = text.replace(f'\n  {key}: ""\n', f"\n  {key}: {json.dumps(released.get(key, ''))}\n", 1)
    return text


def _defaults(chart: str) -> str:
    """The shared values with the chart's own merged into them."""
    shared = (HELM / "common/values.shared.yaml").read_text().replace("{chart}", chart)
    own = (HELM / chart / "values.own.yaml").read_text()
    # The first paragraph of each source describes the source.
    merged = _merge(*(entries(text.partition("\n\n")[2]) for text in (shared, own)))
    return "".join(entry.text() for entry in merged)


def _merge(shared: list[Entry], own: list[Entry], where: str = "") -> Iterator[Entry]:
    """The shared entries in their order; an own comment, value or key takes precedence."""
    by_key = {entry.key: entry for entry in own}
    new = [entry for entry in own if entry.key not in {other.key for other in shared}]
    if new and not any(entry.key == "{own}" for entry in shared):
        raise SystemExit(f"error: values.shared.yaml has no {{own}} in {where or 'its first level'}, where {new[0].key} belongs")
    for entry in shared:
        if entry.key == "{own}":
            yield from new
            continue
        chosen = by_key.get(entry.key, entry)
        merged = Entry(
            entry.key,
            entry.line if chosen.line.endswith(":") else chosen.line,
            entry.above() + (chosen.own_comment() or entry.own_comment()),
            list(_merge(entry.children, chosen.children if chosen is not entry else [], f"{where}{entry.key}.")),
        )
        if merged.line.endswith(":") and not merged.children:
            raise SystemExit(f"error: {where}{entry.key}: neither values.shared.yaml nor values.own.yaml has a value")
        yield merged


def _schema(chart: str) -> dict[str, Any]:
    shared = yaml.safe_load((HELM / "common/values.schema.yaml").read_text())
    own = yaml.safe_load((HELM / chart / "values.schema.yaml").read_text())
    # ecr-credentials is no service: it has the shared definitions, and not the shared values.
    base = shared if chart in SERVICES else shared | {"properties": {k: shared["properties"][k] for k in (*OF_HELM, "enabled")}}
    return _merge_schemas(base, own)


def _merge_schemas(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(shared)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge_schemas(merged[key], value) if both else value
    return merged


def open_objects(schema: Any, path: str = "") -> list[str]:
    """The objects of a schema that accept any key, and so accept a misspelt one."""
    if isinstance(schema, list):
        return [found for index, item in enumerate(schema) for found in open_objects(item, f"{path}[{index}]")]
    if not isinstance(schema, dict):
        return []
    here = [path] if "object" in schema.get("type", ()) and "additionalProperties" not in schema else []
    return here + [found for key, value in schema.items() for found in open_objects(value, f"{path}/{key}")]


def undocumented(schema: dict[str, Any], values: dict[str, Any], path: str = "") -> list[str]:
    """The settings that the schema accepts and values.yaml, the place of their comments, does not have."""
    missing = []
    for key, setting in schema.get("properties", {}).items():
        where = f"{path}.{key}".lstrip(".")
        if key not in values:
            missing.append(where)
        elif isinstance(values[key], dict) and values[key]:
            missing += undocumented(setting, values[key], where)
    return [name for name in missing if name not in OF_HELM]

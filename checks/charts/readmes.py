"""README.md of each chart: the chart's own text, and a table of its values made from the comments of values.yaml.

helm-docs and Bitnami's generator need a notation of their own in the comments. The comments here begin with their key, as Helm's
guide to charts recommends, so `helm show values` reads well too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from entries import Entry, entries
from rendering import HELM

HEADING = re.compile(r"## (.*)")


@dataclass
class Row:
    """One line of a table of values. A group of values has no default of its own."""

    heading: str
    key: str
    default: str
    description: str


def readme(chart: str, values: str) -> str:
    """The README.md of a chart with these values."""
    about = yaml.safe_load((HELM / chart / "Chart.yaml").read_text())
    own = (HELM / chart / "README.own.md").read_text()
    oldest = re.search(r">=\s*(\d+\.\d+)", about.get("kubeVersion", ""))
    needs = f"Kubernetes {oldest[1]} or newer, and " if oldest else ""
    return "\n".join(
        [
            "<!-- Generated from Chart.yaml, README.own.md and values.yaml: checks/run.sh charts --update -->",
            "",
            f"# {about['name']}",
            "",
            str(about.get("description")),
            "",
            f"It needs {needs}Helm 3.17 or newer.",
            "",
            own.strip(),
            "",
            "## Values",
            "",
            "A schema rejects unknown names and invalid values. Durations are written as `500ms`, `5s`, `1m30s` or `1h`, sizes as `64MiB`.",
            *_tables(values),
            "",
        ]
    )


def _tables(values: str) -> Iterator[str]:
    heading = None
    for row in rows(values):
        if row.heading != heading:
            heading = row.heading
            yield from ("", f"### {heading}", "", "| key | default | description |", "|---|---|---|")
        yield f"| `{row.key}` | {row.default} | {row.description} |"


def rows(values: str) -> list[Row]:
    """The rows of a values file. A key without a comment, or outside of a heading, is an error of the file."""
    found = list(_rows(entries(values), yaml.safe_load(values), "", ""))
    for row in found:
        if not row.description or not row.heading:
            raise SystemExit(f"error: values.yaml: {row.key} has no {'comment' if row.heading else 'heading'}")
    return found


def _rows(level: list[Entry], values: dict[str, Any], heading: str, above: str) -> Iterator[Row]:
    for entry in level:
        for line in entry.comment:
            if title := HEADING.match(line):
                heading = title[1]
        key, value = f"{above}{entry.key}", values[entry.key]
        # A group, unless its members have no comments: those are fields of Kubernetes, or parts of one reference.
        group = any(_commented(child) for child in entry.children)
        yield Row(heading, key, "" if group else f"`{_default(value)}`", _description(entry))
        if group:
            yield from _rows(entry.children, value, heading, f"{key}.")


def _commented(entry: Entry) -> bool:
    return bool(entry.own_comment()) or any(_commented(child) for child in entry.children)


def _default(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("|", "\\|")


def _description(entry: Entry) -> str:
    """The comment as one line of Markdown, without the key at its beginning."""
    text = " ".join(line.strip().removeprefix("#").strip() for line in entry.own_comment())
    text = text.removeprefix(f"{entry.key}:").strip()
    # Angle brackets would be HTML, and a bar would end the cell.
    return text.replace("|", "\\|").replace("<", "&lt;")

"""docs/install.md: every command of it is run, with stand-ins for what would need a cluster, a cloud or the network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rendering import ROOT

PAGE = ROOT / "docs/install.md"
STAND_INS = ("aws", "curl", "git", "helm", "kubectl", "sudo", "terraform")


@dataclass
class Run:
    """What the page's commands did."""

    problems: list[str] = field(default_factory=list)
    # (namespace, name) of each Secret that the page makes, with its keys and labels.
    secrets: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    labels: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    applied: list[dict[str, Any]] = field(default_factory=list)
    node_ports: list[tuple[str, int]] = field(default_factory=list)
    # The versions of charts from chart repositories.
    versions: dict[str, str] = field(default_factory=dict)


def blocks() -> list[tuple[int, str]]:
    """The commands, with the line where each block begins. Lists indent theirs."""
    found = []
    for match in re.finditer(r"^( *)```sh\n(.*?)^\1```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        line = PAGE.read_text()[: match.start(2)].count("\n") + 1
        found.append((line, re.sub(rf"^{match[1]}", "", match[2], flags=re.MULTILINE)))
    return found


def run() -> Run:
    result = Run()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        checkout = work / "checkout"
        for name in ("docs", "grafana", "helm", "terraform"):
            shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=shutil.ignore_patterns(".terraform*"))
        stand_ins, log = work / "bin", work / "log"
        stand_ins.mkdir()
        log.touch()
        for name in STAND_INS:
            program = stand_ins / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).parent / "standin.py"}" {name} "$@"\n')
            program.chmod(0o755)
        (work / "input").write_text("a-token\n" * 100)
        script = ["set -euo pipefail"]
        script += [f'trap \'echo "docs/install.md:{line}: this block fails" >&2\' ERR\n{text}' for line, text in blocks()]
        (work / "script").write_text("\n".join(script))
        real = {name.upper().replace("-", "_") + "_REAL": shutil.which(name) or "" for name in ("helm", "kubectl")}
        environment = os.environ | real | {"HOME": str(work), "PATH": f"{stand_ins}:{os.environ['PATH']}", "LOG": str(log)}
        with (work / "input").open() as answers:
            done = subprocess.run(
                ["bash", work / "script"], cwd=checkout, env=environment, stdin=answers, capture_output=True, text=True, check=False
            )
        if done.returncode:
            result.problems += [line for line in done.stderr.splitlines() if "symbolic link" not in line][-6:]
        for line in log.read_text().splitlines():
            _note(result, json.loads(line))
    return result


def _note(result: Run, entry: dict[str, Any]) -> None:
    if "failed" in entry and entry["failed"] not in result.problems:
        result.problems.append(entry["failed"])
    if manifest := entry.get("made"):
        metadata = manifest["metadata"]
        if manifest["kind"] == "Secret":
            result.secrets.setdefault((metadata["namespace"], metadata["name"]), set()).update(manifest["data"])
    if "labelled" in entry:
        namespace, name, labels = entry["labelled"]
        result.labels.setdefault((namespace, name), {}).update(labels)
    result.applied += entry.get("applied", [])
    result.node_ports += [(name, port) for name, port in entry.get("node_ports", [])]
    result.versions |= entry.get("versions", {})


def links() -> Iterator[str]:
    """Links to files and headings lead somewhere."""
    text = PAGE.read_text()
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text):
        name, _, anchor = target.partition("#")
        path = (PAGE.parent / name).resolve() if name else PAGE
        if not path.exists():
            yield f"docs/install.md links to {target}, which is not there"
        elif anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            if anchor not in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}:
                yield f"docs/install.md links to {target}, and there is no such heading"


def listed_applications() -> set[str]:
    """The applications in the output that the page shows."""
    table = re.search(r"^NAME +SYNC STATUS.*\n((?:.+\n)*?)```", PAGE.read_text(), re.MULTILINE)
    return {line.split()[0] for line in table[1].splitlines()} if table else set()


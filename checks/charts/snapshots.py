"""Committed renders and notes: the defaults in full, each scenario as its difference from the defaults."""

from __future__ import annotations

import difflib
from pathlib import Path

from rendering import Scenario, notes, render

FOLDER = Path(__file__).parent / "snapshots"


def path(scenario: Scenario, full: bool) -> Path:
    return FOLDER / scenario.chart / (f"{scenario.name}.yaml" if full else f"{scenario.name}.diff")


def expected_files(scenarios: list[Scenario]) -> dict[Path, str]:
    """Every file of the folder with its expected content. The first scenario of a chart is stored in full."""
    files: dict[Path, str] = {}
    first: dict[str, str] = {}
    for scenario in scenarios:
        text = render(scenario) + "".join(f"# {line}".rstrip() + "\n" for line in notes(scenario).splitlines())
        if scenario.chart in first:
            files[path(scenario, full=False)] = changes(first[scenario.chart], text)
        else:
            first[scenario.chart] = text
            files[path(scenario, full=True)] = text
    return files


def changes(before: str, after: str) -> str:
    """A unified diff without line numbers, because every line added above would change them."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=4)
    return "".join(f"{'@@' if line.startswith('@@') else line}\n" for line in list(lines)[2:])


def problems(files: dict[Path, str]) -> list[str]:
    found = [f"{old.relative_to(FOLDER)}: no scenario produces it" for old in FOLDER.rglob("*.*") if old not in files]
    for file, text in files.items():
        committed = file.read_text() if file.exists() else ""
        if committed != text:
            diff = difflib.unified_diff(committed.splitlines(), text.splitlines(), "committed", "rendered", lineterm="", n=2)
            found.append(f"{file.relative_to(FOLDER)} differs from the chart's render:\n" + "\n".join(list(diff)[:40]))
    return found


def write(files: dict[Path, str]) -> None:
    for old in FOLDER.rglob("*.*"):
        if old not in files:
            old.unlink()
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

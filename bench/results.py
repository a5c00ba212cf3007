"""The results. The figures of each scenario's latest run are stored, so that a report can be written again."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

from processes import Failed

# One value per round, by figure.
Figures = dict[str, list[float]]


@dataclass
class Result:
    scenario: str
    # The subject that the others are compared with, if any.
    yardstick: str | None
    # The figures by subject, in the order of the table.
    figures: dict[str, Figures] = field(default_factory=dict)
    # Facts that a reader needs to understand the figures.
    notes: list[str] = field(default_factory=list)
    # Numbers of the run that the pictures need.
    facts: dict[str, float] = field(default_factory=dict)
    # The revision of the code, and the options of the run.
    circumstances: dict[str, str] = field(default_factory=dict)

    def add(self, subject: str, **values: float) -> None:
        for figure, value in values.items():
            self.figures.setdefault(subject, {}).setdefault(figure, []).append(value)

    def median(self, subject: str, figure: str) -> float | None:
        values = self.figures.get(subject, {}).get(figure)
        return statistics.median(values) if values else None

    def ratios(self, subject: str, to: str | None, figure: str = "rate") -> list[float]:
        """The ratios of each round, because a disturbance affects the neighbouring measurements of a round alike."""
        if not to:
            return []
        mine, theirs = self.figures.get(subject, {}).get(figure, []), self.figures.get(to, {}).get(figure, [])
        return [a / b for a, b in zip(mine, theirs)]

    def ratio(self, subject: str, to: str | None, figure: str = "rate") -> float | None:
        ratios = self.ratios(subject, to, figure)
        return statistics.median(ratios) if ratios else None


def keep(folder: Path, result: Result) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.scenario}.json").write_text(json.dumps(asdict(result), indent=1) + "\n")


def kept(folder: Path, scenarios: list[str]) -> list[Result]:
    """The stored results of these scenarios. Raises if they are not of one revision on one machine."""
    files = [folder / f"{scenario}.json" for scenario in scenarios]
    results = [Result(**json.loads(file.read_text())) for file in files if file.exists()]
    if not results:
        raise Failed("no figures are kept; measure first")
    for fact in ("revision", "processor", "kernel"):
        if len({result.circumstances[fact] for result in results}) > 1:
            raise Failed(f"the figures that are kept differ in their {fact}; measure all scenarios again")
    return results

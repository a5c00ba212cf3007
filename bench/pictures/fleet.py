"""The reads of AWS for each name and TTL, by the number of replicas."""

from __future__ import annotations

from pathlib import Path

from fleet import REPLICAS
from pictures.style import GREEN, RED, bare, result_of, save, subplots
from results import Result
from subjects import SUBJECTS


def draw(results: list[Result], file: Path) -> bool:
    result = result_of(results, "fleet")
    if not result:
        return False
    figure, axes = subplots(1, 1, (6, 3.2))
    for subject, colour, marker in (("fleet-alone", RED, "x"), ("fleet-shared", GREEN, "D")):
        reads = [result.median(subject, f"steady_{replicas}") or 0 for replicas in REPLICAS]
        axes.plot(REPLICAS, reads, marker=marker, color=colour, label=SUBJECTS[subject].title)
    axes.set_xticks(REPLICAS)
    axes.set_xlabel("replicas of aux-service")
    axes.set_ylabel("reads")
    axes.set_ylim(0)
    bare(axes, "Reads of AWS for each name and TTL")
    axes.legend(frameon=False)
    save(figure, file)
    return True

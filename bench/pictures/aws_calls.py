"""The calls to AWS for 1,000 requests, by the number of replicas, with a panel for each number of names."""

from __future__ import annotations

from pathlib import Path

from aws_calls import CACHES, DIRECT_NAMES, NAMES, REPLICAS, place_of
from pictures.style import bare, line, result_of, save, subplots
from results import Result
from subjects import SUBJECTS

SHOWN = ("direct-boto3", *CACHES)


def draw(results: list[Result], file: Path) -> bool:
    result = result_of(results, "aws-calls")
    if not result:
        return False
    panels = [names for names in NAMES if any(result.median(CACHES[0], f"calls@{place_of(replicas, names)}") is not None for replicas in REPLICAS)]
    figure, every = subplots(1, len(panels), (3.1 * len(panels) + 1.2, 3.6), sharey=True, squeeze=False)
    for axes, names in zip(every[0], panels):
        for subject in SHOWN:
            # The number of names makes no difference to direct reading.
            asked = names if subject in CACHES else DIRECT_NAMES
            counted = [(replicas, result.median(subject, f"calls@{place_of(replicas, asked)}")) for replicas in REPLICAS]
            points = [(replicas, calls) for replicas, calls in counted if calls is not None]
            axes.plot(*zip(*points), label=SUBJECTS[subject].title, **line(subject))
        axes.set_yscale("log")
        axes.set_xticks(REPLICAS)
        axes.set_xlabel("replicas")
        bare(axes, f"{names:,} names")
    every[0][0].set_ylabel("calls to AWS for 1,000 requests")
    handles, labels = every[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    save(figure, file)
    return True

"""The share of requests that are answered right before, during and after an outage of AWS, second by second."""

from __future__ import annotations

from pathlib import Path

from aws_outage import REPLICAS
from pictures.style import LOOKS, bare, result_of, save, subplots
from results import Result
from subjects import SUBJECTS


def draw(results: list[Result], file: Path) -> bool:
    result = result_of(results, "aws-outage")
    if not result:
        return False
    before, outage = result.facts["before_s"], result.facts["outage_s"]
    figure, every = subplots(len(result.figures), 1, (7.5, 1.15 * len(result.figures) + 0.9), sharex=True, sharey=True, squeeze=False)
    for axes, (subject, figures) in zip(every[:, 0], result.figures.items()):
        shares = [share * 100 for share in figures["second"]]
        seconds = [second - before for second in range(len(shares))]
        axes.axvspan(0, outage, color="#f3f4f6", zorder=0)
        axes.fill_between(seconds, shares, step="post", color=LOOKS[subject][0], alpha=0.85, linewidth=0, zorder=2)
        for number in range(REPLICAS):
            axes.axvline(outage * (number + 1) / (REPLICAS + 1), color="black", linestyle=":", linewidth=1, zorder=3)
        answered, oldest = (result.median(subject, figure) or 0 for figure in ("answered", "oldest_s"))
        bare(axes, f"{SUBJECTS[subject].title}: {answered:.1%} during the outage, the oldest response {oldest:,.0f} s old")
        axes.set_ylim(0, 105)
        axes.set_yticks((0, 50, 100))
        axes.set_xlim(seconds[0], seconds[-1] + 1)
    figure.supylabel("requests answered right, %", fontsize=9)
    every[-1, 0].set_xlabel("seconds since AWS was gone (grey: the outage; dotted: a replica is restarted)")
    save(figure, file)
    return True

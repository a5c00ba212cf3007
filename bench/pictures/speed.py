"""The picture: requests a second as multiples of nginx's, with the limits marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from pictures.style import STYLE, save
from report import OF_THEIR_OWN
from results import Result
from subjects import SUBJECTS

COLOURS = {
    "main-api": "#0b6e4f",
    "main-api-pass": "#0b6e4f",
    "aux-service": "#3fa77a",
    "nginx-cache": "#6b7280",
    "nginx-pass": "#6b7280",
    "nginx-cache-tuned": "#a3a9b3",
    "varnish": "#c2873a",
}
LIMITS = {"nginx-return": ("#b42318", "-"), "hyper": ("#1d4ed8", "--")}
# A proxy without a cache is no peer of a cache. A constant response, written sixteen times at once, would make all other bars
# too small.
LEFT_OUT = {("hit", "nginx-pass"), ("pipelined", "hyper")}


def draw(results: list[Result], file: Path) -> bool:
    """Draws the picture. Returns False if there are no results for it."""
    shown = [result for result in results if result.scenario not in OF_THEIR_OWN]
    # The scenario comes last, because it has another yardstick.
    shown.sort(key=lambda result: result.scenario == "pass")
    if not shown:
        return False
    plt.rcParams.update(STYLE)
    bars = [[name for name in result.figures if name in COLOURS and (result.scenario, name) not in LEFT_OUT] for result in shown]
    height = sum(len(group) for group in bars) + 1.2 * len(shown)
    figure, axes = plt.subplots(figsize=(9, 0.21 * height + 1.3), layout="constrained")

    y, labels = 0.0, []
    drawn: dict[str, Any] = {}
    for result, group in zip(shown, bars):
        top = y
        for subject in sorted(group, key=list(COLOURS).index):
            ratios, ratio = result.ratios(subject, result.yardstick), result.ratio(subject, result.yardstick) or 0
            error = [[ratio - min(ratios)], [max(ratios) - ratio]]
            axes.barh(y, ratio, height=0.86, zorder=2, color=COLOURS[subject], xerr=error, error_kw={"ecolor": "#00000055", "elinewidth": 1})
            weight = "bold" if SUBJECTS[subject].ours else "normal"
            # The white background separates the text from a limit's mark.
            behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
            axes.text(max(ratios) + 0.03, y, f"{ratio:.2f}", va="center", fontsize=8, fontweight=weight, bbox=behind, zorder=3)
            # Both subjects of main-api share one entry, and both of plain nginx.
            drawn.setdefault(COLOURS[subject], plt.Rectangle((0, 0), 1, 1, color=COLOURS[subject], label=SUBJECTS[subject].title))
            y += 1
        for limit, (colour, style) in LIMITS.items():
            reached = None if (result.scenario, limit) in LEFT_OUT else result.ratio(limit, result.yardstick)
            if reached is not None:
                ends = (top - 0.6, y - 0.4)
                drawn[limit] = axes.vlines(reached, *ends, colors=colour, linestyles=style, label=SUBJECTS[limit].title, zorder=2)
        assert result.yardstick
        other = "" if result.yardstick == "nginx-cache" else f"\n(1 = {SUBJECTS[result.yardstick].title})"
        labels.append(((top + y - 1) / 2, result.scenario + other))
        y += 1.2

    axes.axvline(1, color="#6b7280", linewidth=0.8, zorder=0.9)
    axes.set_yticks([place for place, _ in labels], [label for _, label in labels], fontsize=10)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(y - 1, -1)
    axes.set_xlim(0)
    axes.grid(axis="x", color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.set_title("Requests a second on one core (1 = nginx's cache)", loc="left", fontsize=11, fontweight="bold")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(handles=list(drawn.values()), loc="outside upper left", ncols=4, frameon=False, fontsize=8)
    save(figure, file)
    return True

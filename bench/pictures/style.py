"""The common style of all pictures. Subjects differ by hatching or markers as well as by colour, for a print in black and white."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

from results import Result

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.hashsalt": "bench",
    "svg.fonttype": "path",
    "hatch.linewidth": 0.6,
    "hatch.color": "white",
}
GREEN, LIGHT_GREEN, RED, GREY, LIGHT_GREY, OCHRE, BLUE = "#0b6e4f", "#3fa77a", "#b42318", "#6b7280", "#a3a9b3", "#c2873a", "#1d4ed8"
# Colour, hatching of a bar, and marker and dashes of a line, by subject.
LOOKS: dict[str, tuple[str, str, str, str]] = {
    "direct-boto3": (RED, "", "x", ":"),
    "direct-boto3-legacy": (RED, "//", "x", ":"),
    "direct-javascript": (RED, "..", "x", ":"),
    "poll-10": (RED, "", "x", ":"),
    "poll-60": (RED, "//", "x", ":"),
    "poll-300": (RED, "..", "x", ":"),
    "agent": (OCHRE, "\\\\", "s", "--"),
    "nginx-uncoalesced": (GREY, "||", "^", "-."),
    "nginx-cache": (GREY, "||", "^", "-."),
    "nginx-pass": (LIGHT_GREY, "--", "v", ":"),
    "varnish": (OCHRE, "\\\\", "s", "--"),
    "moto": (OCHRE, "\\\\", "s", "--"),
    "replica": (LIGHT_GREEN, "xx", "o", "--"),
    "replica-shared": (GREEN, "", "D", "-"),
    "replica-shared-300": (BLUE, "++", "*", "-"),
    "aux-service": (LIGHT_GREEN, "xx", "o", "--"),
    "main-api": (GREEN, "", "D", "-"),
    "main-api-pass": (LIGHT_GREEN, "..", "o", ":"),
    "waiting-aux": (LIGHT_GREEN, "xx", "o", "--"),
    "waiting-main": (GREEN, "", "D", "-"),
}


def subplots(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Any, Any]:
    plt.rcParams.update(STYLE)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", **options)


def bar(subject: str) -> dict[str, Any]:
    colour, hatch, _, _ = LOOKS[subject]
    return {"color": colour, "hatch": hatch, "edgecolor": "white", "zorder": 2}


def line(subject: str) -> dict[str, Any]:
    colour, _, marker, dashes = LOOKS[subject]
    return {"color": colour, "marker": marker, "linestyle": dashes}


def bare(axes: Any, heading: str, grid: str = "y") -> None:
    """Gives axes their heading, and only the lines that a reader needs."""
    axes.set_title(heading, loc="left", fontsize=10, fontweight="bold")
    axes.grid(axis=grid, color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def labelled_bars(axes: Any, bars: list[tuple[str, str, float | None, str]], heading: str, unit: str, log: bool = False) -> None:
    """Horizontal bars: subject, label, value, and the written value. On a logarithmic axis a length has no meaning, so points are drawn."""
    shown = [entry for entry in bars if entry[2] is not None]
    for place, (subject, _, value, text) in enumerate(shown):
        if log:
            axes.plot(value, place, markersize=8, zorder=2, **line(subject))
        else:
            axes.barh(place, value, height=0.75, **bar(subject))
        axes.annotate(text, (value, place), xytext=(8 if log else 4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(shown)), [label for _, label, _, _ in shown])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    if log:
        axes.set_xscale("log")
        axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.margins(x=0.18)
    bare(axes, heading, "x")


def result_of(results: list[Result], scenario: str) -> Result | None:
    return next((result for result in results if result.scenario == scenario), None)


def save(figure: Any, file: Path) -> None:
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None, dpi=150, facecolor="white")
    plt.close(figure)

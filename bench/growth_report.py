"""Writes the tables of growth.md and its picture from the sweep, growth.jsonl, and from the validation of the simulation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from pages import fill
from pictures.style import STYLE, save

HERE = Path(__file__).resolve().parent
PAGE = HERE / "growth.md"
PICTURE = HERE.parent / "docs/pictures/growth.svg"

QUOTA = 40
COLOURS = {False: "#b42318", True: "#0b6e4f"}
TITLES = {False: "alone", True: "shared"}
Point = dict[str, Any]


def main() -> None:
    lines = [json.loads(line) for line in (HERE / "growth.jsonl").read_text().splitlines()]
    points = [line for line in lines if "limited" in line]
    tables = {
        "validation": Path(sys.argv[1]).read_text().strip(),
        "demand": demand(points),
        "quota": under_quota(points),
        "events": events([line for line in lines if "event" in line]),
        "windows": windows([line for line in lines if "window" in line]),
    }
    fill(PAGE, tables)
    draw(points)


def values(points: list[Point], name: str) -> list[int]:
    return sorted({point[name] for point in points})


def find(points: list[Point], **wanted: Any) -> Point:
    return next(point for point in points if all(point[name] == value for name, value in wanted.items()))


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---:"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def demand(points: list[Point]) -> str:
    """The calls a second without a quota, for each number of replicas and pods, and the names in them."""
    keys = values(points, "keys")
    head = ["replicas of each service", "pods", *(f"{key:,} names, {TITLES[shared]}" for key in keys for shared in (False, True))]
    rows = []
    for replicas in values(points, "replicas"):
        for pods in values(points, "pods"):
            found = [find(points, replicas=replicas, pods=pods, keys=key, shared=shared) for key in keys for shared in (False, True)]
            calls = [point["demand"]["calls a second"] for point in found]
            cells = [f"**{number(value)}**" if value > QUOTA else number(value) for value in calls]
            rows.append([str(replicas), f"{pods:,}", *cells])
    return table(head, rows)


def under_quota(points: list[Point]) -> str:
    """What clients of most pods get under the quota, where the demand exceeds it."""
    pods = max(values(points, "pods"))
    head = ["replicas", "names", "cache", "demand, calls/s", "calls/s", "refused/s", "hit", "stale", "passed on", "error", "age p99, s"]
    rows = []
    for point in points:
        if point["pods"] != pods or point["demand"]["calls a second"] <= QUOTA:
            continue
        limited = point["limited"]
        stale = limited["share stale"] + limited["share stale_error"]
        cells = [point["replicas"], f"{point['keys']:,}", TITLES[point["shared"]]]
        cells += [number(point["demand"]["calls a second"]), number(limited["calls a second"]), number(limited["refused a second"])]
        cells += [f"{100 * share:.1f} %" for share in (limited["share hit"], stale, limited["share miss"] + limited["share coalesced"], limited["share error"])]
        rows.append([*map(str, cells), f"{limited['age p99']:.0f}"])
    return table(head, rows)


def events(lines: list[Point]) -> str:
    head = ["event", "replicas", "cache", "calls", "hit", "stale", "passed on", "error", "age p99, s", "oldest, s", "last old response, s: mean", "last"]
    rows = []
    for line in lines:
        figures = line["figures"]
        stale = figures["share stale"] + figures["share stale_error"]
        cells = [line["event"], str(line["replicas"]), TITLES[line["shared"]], number(figures["calls"])]
        hit, error = figures["share hit"], figures["share error"]
        cells += [f"{100 * share:.1f} %" for share in (hit, stale, max(0.0, 1 - hit - stale - error), error)]
        cells += [f"{figures['age p99']:.0f}", f"{figures['age max']:.0f}"]
        times = [figures.get(f"last old response, {name}") for name in ("mean", "max")]
        rows.append([*cells, *("" if value is None else f"{value:.1f}" for value in times)])
    return table(head, rows)


# The window of the services, in seconds, as the simulation has it.
AS_IT_IS = 0.1005


def windows(lines: list[Point]) -> str:
    head = ["replicas", "names", "cache", "window of refreshes", "calls/s", "names/s", "names a call"]
    rows = []
    for line in lines:
        calls, names = line["demand"]["calls a second"], line["demand"]["names a second"]
        # The simulation adds half a millisecond for the timers of tokio.
        window = f"{1000 * line['window'] - 0.5:,.0f} ms{', as it is' if line['window'] == AS_IT_IS else ''}"
        cells = [str(line["replicas"]), f"{line['keys']:,}", TITLES[line["shared"]], window, number(calls), number(names)]
        rows.append([*cells, f"{names / calls:.1f}"])
    return table(head, rows)


def draw(points: list[Point]) -> None:
    plt.rcParams.update(STYLE)
    figure, (by_replicas, by_keys) = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    pods = max(values(points, "pods"))
    panels = (
        (by_replicas, "replicas", "keys", values(points, "keys"), "replicas of each service", "name"),
        (by_keys, "keys", "replicas", [1, 10, 100], "names", "replica"),
    )
    for axes, along, each, lines, label, unit in panels:
        places = values(points, along)
        for shared in (False, True):
            for value in lines:
                calls = [
                    find(points, pods=pods, shared=shared, **{along: place, each: value})["demand"]["calls a second"] for place in places
                ]
                axes.plot(places, calls, marker="o", markersize=3, color=COLOURS[shared], linewidth=1)
                # With a shared cache the lines of all numbers of replicas end in one place.
                if not shared or unit == "name":
                    text = f" {value:,} {unit}{'' if value == 1 else 's'}"
                    axes.text(places[-1], calls[-1], text, va="center", fontsize=7, color=COLOURS[shared])
        axes.axhline(QUOTA, color="#6b7280", linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.minorticks_off()
        axes.set_xlabel(label)
        axes.grid(axis="y", color="#e5e7eb")
        axes.spines[["top", "right"]].set_visible(False)
    by_replicas.set_yticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    figure.suptitle(f"Calls of AWS a second that {pods:,} pods demand", x=0.01, ha="left", fontsize=11, fontweight="bold")
    legend = {False: "replicas alone", True: "replicas with a shared cache"}
    entries = [plt.Line2D([], [], color=COLOURS[shared], marker="o", markersize=3, label=label) for shared, label in legend.items()]
    entries.append(plt.Line2D([], [], color="#6b7280", linestyle="--", label=f"AWS's quota: {QUOTA} a second"))
    figure.legend(handles=entries, loc="outside lower left", ncols=3, frameon=False, fontsize=8)
    save(figure, PICTURE)


if __name__ == "__main__":
    main()

"""What clients that wait for changes cost, beside clients that ask each second."""

from __future__ import annotations

from pathlib import Path

from pictures.style import labelled_bars, result_of, save, subplots
from results import Result
from subjects import SUBJECTS
from waiting import CLIENTS


def draw(results: list[Result], file: Path) -> bool:
    result = result_of(results, "waiting")
    if not result:
        return False
    panels = (
        ("kib", 1.0, "Memory a client", "KiB", "{:.1f}"),
        ("quiet", 100.0, "CPU while nothing changes", "% of a core", "{:.1f}"),
        ("all_ms", 0.001, "Last response", "seconds after a change", "{:.2f}"),
    )
    figure, every = subplots(1, len(panels), (12, 3.4), width_ratios=(2, 2, 2))
    for axes, (name, scale, heading, unit, form) in zip(every, panels):
        bars = []
        for subject in result.figures:
            for clients in CLIENTS:
                value = result.median(subject, f"{name}_{clients}")
                label = f"{SUBJECTS[subject].title.partition(',')[0]}, {clients:,}"
                bars.append((subject, label, None if value is None else value * scale, "" if value is None else form.format(value * scale)))
        labelled_bars(axes, bars, heading, unit)
    every[1].set_xlabel("% of a core; with nginx and Varnish\neach client asks each second")
    save(figure, file)
    return True

"""The time until all pods have seen a change, and the calls to AWS for an hour without a change."""

from __future__ import annotations

from pathlib import Path

from change import PODS
from pictures.style import labelled_bars, result_of, save, subplots
from results import Result
from subjects import SUBJECTS


def draw(results: list[Result], file: Path) -> bool:
    result = result_of(results, "change")
    if not result:
        return False
    figure, (times, calls) = subplots(1, 2, (9, 2.8))
    shown = [(subject, SUBJECTS[subject].title) for subject in result.figures]
    last = [(subject, title, value, f"{value / 1000:.3g} s") for subject, title in shown if (value := result.median(subject, "last_ms"))]
    bars = [(subject, title, value / 1000, text) for subject, title, value, text in last]
    labelled_bars(times, bars, f"A change is seen by all of {PODS:,} pods after", "seconds (logarithmic)", log=True)
    hourly = [(subject, result.median(subject, "calls_an_hour") or 0) for subject, _ in shown]
    bars = [(subject, "", value, f"{value:,.0f}") for subject, value in hourly]
    labelled_bars(calls, bars, "Calls to AWS in an hour without a change", "calls (logarithmic above 10)", log=True)
    calls.set_xscale("symlog", linthresh=10)
    save(figure, file)
    return True

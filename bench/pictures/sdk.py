"""GetParameter by raw HTTP beside plain hits and an emulator, and the time of a call of boto3."""

from __future__ import annotations

from pathlib import Path

from pictures.style import labelled_bars, result_of, save, subplots
from results import Result
from subjects import SUBJECTS


def draw(results: list[Result], file: Path) -> bool:
    result = result_of(results, "sdk")
    if not result:
        return False
    figure, (rates, calls) = subplots(1, 2, (9, 2.6), width_ratios=(3, 2))
    bars = []
    for subject in result.figures:
        for figure_name, what in (("plain_rate", "plain hit"), ("rate", "GetParameter")):
            value = result.median(subject, figure_name)
            bars.append((subject, f"{SUBJECTS[subject].title}, {what}", value, f"{value or 0:,.0f}"))
    labelled_bars(rates, bars, "Raw HTTP, on one core", "requests a second")
    rates.locator_params(axis="x", nbins=5)
    medians = [(subject, (result.median(subject, "boto3_p50_us") or 0) / 1000) for subject in result.figures]
    bars = [(subject, SUBJECTS[subject].title, value, f"{value:.2f}") for subject, value in medians]
    labelled_bars(calls, bars, "A call of boto3", "milliseconds, median")
    save(figure, file)
    return True

"""The latency of requests while aux-service fails, with the share of them that were answered."""

from __future__ import annotations

from pathlib import Path

from failures import FAILURES
from pictures.style import bare, line, result_of, save, subplots
from results import Result
from subjects import SUBJECTS

# Less than this share means that requests were not answered.
ALL = 0.9995
PERCENTILES = (("p50_us", "50 %"), ("p99_us", "99 %"), ("p999_us", "99.9 %"))


def draw(results: list[Result], file: Path) -> bool:
    result = result_of(results, "failures")
    if not result:
        return False
    figure, every = subplots(1, len(FAILURES), (2.4 * len(FAILURES) + 1, 4.2), sharey=True)
    width = 0.8 / len(result.figures)
    for axes, (failure, about) in zip(every, FAILURES.items()):
        for number, subject in enumerate(result.figures):
            values = [(result.median(subject, f"{figure}@{failure}") or 0) / 1000 for figure, _ in PERCENTILES]
            places = [place + (number + 0.5) * width for place in range(len(PERCENTILES))]
            # A hollow mark belongs to a subject that did not answer all requests.
            answered = (result.median(subject, f"answered@{failure}") or 0) >= ALL
            fill = {} if answered else {"markerfacecolor": "white"}
            axes.plot(places, values, label=SUBJECTS[subject].title, markersize=7, **line(subject) | {"linestyle": ""}, **fill)
        lost = [
            f"{SUBJECTS[subject].title}: {answered:.0%}"
            for subject in result.figures
            if (answered := result.median(subject, f"answered@{failure}") or 0) < ALL
        ]
        axes.set_xlabel("answered:\n" + "\n".join(lost or ["all"]), fontsize=8, loc="left")
        axes.set_yscale("log")
        axes.set_xticks([place + 0.4 for place in range(len(PERCENTILES))], [text for _, text in PERCENTILES])
        axes.set_xlim(-0.15, len(PERCENTILES) - 0.05)
        bare(axes, f"aux-service\n{about}" if failure != "none" else f"\n{about}")
    every[0].set_ylabel("latency, milliseconds (logarithmic)")
    handles, labels = every[0].get_legend_handles_labels()
    figure.supxlabel("hollow: not all requests were answered", fontsize=8)
    figure.legend(handles, labels, loc="outside upper left", ncols=5, frameon=False, fontsize=8)
    save(figure, file)
    return True

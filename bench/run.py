#!/usr/bin/env python3
"""Compares both services with what people would pick instead on this machine.

Subjects share one core, and the load generator uses another. Each round measures all subjects of a scenario in turn, and the
report has medians as multiples of one of them. A wrong response ends the run without a report.
The default run takes about an hour, and --quick about twenty-five minutes. It needs an idle machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import machine
import performance_page
from options import Options
from processes import Failed
from report import markdown
from results import Result, keep, kept
from scenarios import SCENARIOS, Scenario
from stage import HERE, ROOT, Stage
from subjects import SUBJECTS

WORK = ROOT / "target/bench"
FIGURES = WORK / "figures"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="SCENARIO", help="measure these scenarios, not all")
    parser.add_argument("--rounds", type=positive, metavar="N", help="the number of measurements of each subject (5)")
    parser.add_argument("--seconds", type=positive, metavar="N", help="the duration of each measurement (2)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of one second, and short outages: about twenty-five minutes, and more noise")
    parser.add_argument("--report", action="store_true", help="report the latest figures of each scenario without a measurement")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="the folder for results.md and the pictures (bench/; with --only the report is only printed)",
    )
    return parser.parse_args()


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def main() -> None:
    asked = arguments()
    if asked.list:
        for scenario in SCENARIOS.values():
            print(f"{scenario.name}: {scenario.about}")
            for name in scenario.subjects:
                print(f"    {SUBJECTS[name].title}")
        return
    names = asked.only or list(SCENARIOS)
    out = asked.out or (None if asked.only else HERE)
    if out:
        try:
            # The import comes before the measurement, which takes minutes, and after --help.
            from pictures import draw_all
        except ImportError:
            raise Failed("matplotlib is needed for the pictures; `make bench` installs it") from None
    results = kept(FIGURES, names) if asked.report else measured([SCENARIOS[name] for name in names], asked)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.md").write_text(markdown(results, draw_all(results, out)))
        if out == HERE and len(results) == len(SCENARIOS):
            performance_page.write(results)
    print(f"\n{markdown(results)}")
    if out:
        print(f"Written to {out / 'results.md'}")


def measured(scenarios: list[Scenario], asked: argparse.Namespace) -> list[Result]:
    machine.check_programs()
    core, own = machine.cores()
    # The generators inherit this core.
    os.sched_setaffinity(0, {own})
    rounds, seconds = asked.rounds or (3 if asked.quick else 5), asked.seconds or (1 if asked.quick else 2)
    circumstances = machine.circumstances() | {"measured": f"{rounds} rounds of {seconds} s for each subject"}
    results = []
    begin = time.monotonic()
    for scenario in scenarios:
        say = partial(progress, begin, scenario.name)
        result = Result(scenario.name, scenario.yardstick, {subject: {} for subject in scenario.subjects}, circumstances=circumstances)
        folder = WORK / "run" / scenario.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with ExitStack() as stack:
            say(scenario.about)
            try:
                scenario.measure(Options(rounds, seconds, asked.quick, say), Stage(folder, core, stack), result)
            except Failed as failure:
                raise Failed(f"{scenario.name}: {failure}") from None
        keep(FIGURES, result)
        results.append(result)
    return results


def progress(begin: float, scenario: str, text: str) -> None:
    print(f"{time.monotonic() - begin:5.0f} s  {scenario}: {text}", flush=True)


if __name__ == "__main__":
    # SIGTERM ends all started programs, like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except Failed as failure:
        sys.exit(f"error: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)

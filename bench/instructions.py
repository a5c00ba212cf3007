#!/usr/bin/env python3
"""Compares the instructions of each part of the services with instructions.json, the committed counts.

A part that takes over 5 % more fails, because a later reader of docs/performance.md would find figures that no longer hold.
So does a part without a committed count, and a count without its part.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import performance_page
from performance_page import INSTRUCTIONS as COMMITTED

# The counts of the cache alone differ by a hundredth between runs, and those of requests by a thousandth.
MOST_ADDED = 0.05

# Each benchmark counts so many turns, as TIMES in benches/counts/main.rs says.
TURNS = 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", type=Path, help="the output of the benchmark `counts` with --output-format=json")
    parser.add_argument("--update", action="store_true", help="write the counts into instructions.json")
    asked = parser.parse_args()
    counts = read(asked.counts)
    committed = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    print(table(committed, counts))
    if asked.update:
        COMMITTED.write_text(json.dumps(counts, indent=1) + "\n")
        performance_page.write_instructions()
        print(f"Written to bench/{COMMITTED.name}, docs/performance.md and bench/growth.md.")
        return 0
    problems = compared(committed, counts)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        print("If the price is right, or a part is new, `checks/run.sh microbench --update` writes the counts.", file=sys.stderr)
    return 1 if problems else 0


def read(file: Path) -> dict[str, int]:
    """The instructions of one turn, by the name of the part."""
    counts = {}
    for line in file.read_text().splitlines():
        told = json.loads(line)
        instructions = told["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]
        # Without an earlier run there is nothing but the new count.
        counts[f"{told['function_name']} {told['id']}"] = round(int(instructions["new"]) / TURNS)
    return counts


def compared(committed: dict[str, int], counts: dict[str, int]) -> list[str]:
    """The sentences about all that differs too much."""
    problems = []
    for name, count in counts.items():
        if name not in committed:
            problems.append(f"{name} has no committed count.")
        elif count > committed[name] * (1 + MOST_ADDED):
            problems.append(f"{name} takes {count:,} instructions, {count / committed[name] - 1:.1%} more than the committed {committed[name]:,}.")
    problems += [f"{name} has a committed count, and was not counted." for name in committed if name not in counts]
    return problems


def table(committed: dict[str, int], counts: dict[str, int]) -> str:
    lines = [f"{'part':42} {'committed':>10} {'now':>10} {'change':>8}"]
    for name, count in counts.items():
        before, change = ("", "") if name not in committed else (f"{committed[name]:,}", f"{count / committed[name] - 1:+.1%}")
        lines.append(f"{name:42} {before:>10} {count:>10,} {change:>8}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

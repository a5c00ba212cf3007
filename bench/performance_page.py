#!/usr/bin/env python3
"""The tables of docs/performance.md. As a program, it checks that they are those of the committed results and counts."""

from __future__ import annotations

import json
import sys

from pages import fill, read
from results import Result
from stage import HERE, ROOT
from subjects import SUBJECTS
from summary import summary
from tables import bold, median, table

PAGE = ROOT / "docs/performance.md"
INSTRUCTIONS = HERE / "instructions.json"

COMPARED = ("aux-service", "main-api", "nginx-cache", "nginx-cache-tuned", "varnish", "nginx-return", "hyper")
SCENARIOS = {
    "hit": "hit",
    "not-modified": "304",
    "negative": "negative hit: a remembered 404",
    "list": "list of 100 KiB",
    "zipf": "10,000 keys, Zipf",
    "pipelined": "16 pipelined hits",
    "connect": "a connection for each request",
}
# Requests, and then single parts, by their names in instructions.json.
REQUESTS = {
    "hit": "hit",
    "hit_with_token": "hit with a token",
    "hit_with_token_and_log": "hit with a token and a log line",
    "sdk_hit": "hit by AWS's own protocol",
    "not_modified": "304",
    "negative_hit": "negative hit",
    "unauthorized": "401",
    "routed": "a route that axum's Router serves",
}
PARTS = {
    "fresh of_10_000_keys": "a lookup among 10,000 entries",
    "response of_10_000_keys": "a lookup, and its response",
    "get miss": "a miss, with a load that takes no time: stored",
    "get miss_not_stored": "the same: not stored",
    "success closed": "the circuit breaker: a call while closed",
    "refusal open": "the circuit breaker: a refusal while open",
    "deposit full": "the retry budget: a counted call",
    "withdrawal full": "the retry budget: a retry",
    "withdrawal spent": "the retry budget: a refusal",
    "admission full": "the quota shield: a call",
    "admission empty": "the quota shield: a refusal",
}
NODE_CORES, NODES = 4, 10


def write(results: list[Result]) -> None:
    """Writes the tables, from the results of all scenarios and from the committed counts of instructions."""
    by_name = {result.scenario: result for result in results}
    fill(PAGE, {"summary": summary(results), "comparison": comparison(by_name), "estimate": estimate(by_name), **instructions()})


def write_instructions() -> None:
    """Writes the tables of the committed counts of instructions."""
    fill(PAGE, instructions())


def comparison(results: dict[str, Result]) -> str:
    """The CPU time of a request."""
    rows = [
        [what, *(bold(subject, median(results[scenario], subject, "cpu_us")) for subject in COMPARED)]
        for scenario, what in SCENARIOS.items()
    ]
    return table(["CPU time a request", *(SUBJECTS[subject].title for subject in COMPARED)], rows)


def instructions() -> dict[str, str]:
    counts: dict[str, int] = json.loads(INSTRUCTIONS.read_text())

    def count(name: str) -> str:
        return f"{counts[name]:,}" if name in counts else ""

    requests = [[what, count(f"to_aux_service {name}"), count(f"to_main_api {name}")] for name, what in REQUESTS.items()]
    parts = [[what, count(name)] for name, what in PARTS.items()]
    return {
        "requests": table(["a whole request, without the network", "aux-service", "main-api"], requests),
        "parts": table(["a part alone", "instructions"], parts),
    }


def estimate(results: dict[str, Result]) -> str:
    """The rates of a core, times the cores."""
    rates = {
        "hits of 1 KB, requests/s": results["hit"].median("main-api", "rate"),
        "through main-api without its cache, requests/s": results["pass"].median("main-api-pass", "rate"),
    }
    rows = [[what, *(f"{rounded(rate * cores):,}" for cores in (1, NODE_CORES, NODE_CORES * NODES))] for what, rate in rates.items() if rate]
    return table(["", "one core for main-api", f"one node, {NODE_CORES} cores for main-api", f"{NODES} such nodes"], rows)


def rounded(rate: float) -> int:
    """The rate with two significant digits; an estimate has no more."""
    return int(float(f"{rate:.2g}"))


def outdated() -> list[str]:
    """The sentences about tables that differ from the committed results and counts."""
    problems = []
    if (told := read(PAGE, "summary")) not in (HERE / "results.md").read_text() or not told:
        problems.append("the table 'summary' of docs/performance.md is not the one of bench/results.md; `bench/run.sh --report` writes both.")
    problems += [
        f"the table '{name}' of docs/performance.md differs from bench/instructions.json; `checks/run.sh microbench --update` writes both."
        for name, expected in instructions().items()
        if read(PAGE, name) != expected
    ]
    return problems


if __name__ == "__main__":
    sys.exit("\n".join(f"error: {problem}" for problem in outdated()) or 0)

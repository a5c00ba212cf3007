#!/usr/bin/env python3
"""The tables of docs/performance.md that come from the results, and those of costs of growth.md.

As a program, it checks that the summary and the counts on these pages are the committed ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import source
from pages import fill, read
from results import Result
from stage import HERE, ROOT
from subjects import SUBJECTS
from summary import summary
from tables import bold, median, table

PAGE = ROOT / "docs/performance.md"
GROWTH = HERE / "growth.md"
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
LOOKUPS = (
    ("by keys: 100 and 100,000", "response of_100_keys", "response of_100_000_keys"),
    ("by value size: 100 bytes and 1 MB", "response of_100_bytes", "response of_1_mb"),
)
NODE_CORES, NODES = 4, 10
PODS, READS_A_MINUTE = 100_000, 10


def write(results: list[Result]) -> None:
    """Writes the tables, from the results of all scenarios and from the committed counts of instructions."""
    by_name = {result.scenario: result for result in results}
    fill(PAGE, {"summary": summary(results), "comparison": comparison(by_name), "estimate": estimate(by_name)})
    fill(GROWTH, {"cost": cost(by_name)})
    write_instructions()


def write_instructions() -> None:
    """Writes the tables of the committed counts of instructions."""
    for page, tables in instructions().items():
        fill(page, tables)


def comparison(results: dict[str, Result]) -> str:
    """The CPU time of a request."""
    rows = [
        [what, *(bold(subject, median(results[scenario], subject, "cpu_us")) for subject in COMPARED)]
        for scenario, what in SCENARIOS.items()
    ]
    return table(["CPU time a request", *(SUBJECTS[subject].title for subject in COMPARED)], rows)


def instructions() -> dict[Path, dict[str, str]]:
    """The tables that come from the counts alone, by page and name."""
    counts: dict[str, int] = json.loads(INSTRUCTIONS.read_text())

    def count(name: str) -> str:
        return f"{counts[name]:,}" if name in counts else ""

    requests = [[what, count(f"to_aux_service {name}"), count(f"to_main_api {name}")] for name, what in REQUESTS.items()]
    parts = [[what, count(name)] for name, what in PARTS.items()]
    lookups = [[what, count(few), count(many)] for what, few, many in LOOKUPS]
    return {
        PAGE: {
            "requests": table(["a whole request, without the network", "aux-service", "main-api"], requests),
            "parts": table(["a part alone", "instructions"], parts),
        },
        GROWTH: {"lookups": table(["instructions of a lookup and its response", "the smaller", "the larger"], lookups)},
    }


def estimate(results: dict[str, Result]) -> str:
    """The rates of a core, times the cores."""
    rates = {
        "hits of 1 KB, requests/s": results["hit"].median("main-api", "rate"),
        "through main-api without its cache, requests/s": results["pass"].median("main-api-pass", "rate"),
    }
    rows = [[what, *(f"{rounded(rate * cores):,}" for cores in (1, NODE_CORES, NODE_CORES * NODES))] for what, rate in rates.items() if rate]
    return table(["", "one core for main-api", f"one node, {NODE_CORES} cores for main-api", f"{NODES} such nodes"], rows)


def cost(results: dict[str, Result]) -> str:
    """Cost and memory of one process of main-api, as functions."""
    hit, list_of_names, zipf = (results[name].median("main-api", "cpu_us") or 0 for name in ("hit", "list", "zipf"))
    rate = results["hit"].median("main-api", "rate") or 0
    empty, full = (results["start"].median("main-api", f"memory_{state}_bytes") or 0 for state in ("empty", "idle"))
    entry = (full - empty) / source.PARAMETERS / 1024
    client = results["waiting"].median("waiting-main", "kib_10000") or 0
    pods = PODS * READS_A_MINUTE / 60
    rows = [
        ["a hit, by keys", f"{hit:.1f} µs with one key, {zipf:.1f} µs among 10,000, because the processor's caches are smaller", "*hit* and *zipf*"],
        ["a hit, by value size", f"{hit:.1f} µs with 1,000 bytes, {list_of_names:.0f} µs with 100 KiB: the kernel copies them", "*hit* and *list*"],
        ["an entry", f"{entry:.1f} KiB for a value of 1,000 bytes, with its key and its bookkeeping", "*start*: 10,000 entries"],
        ["K entries of V bytes", f"K × (V + {entry - source.VALUE_BYTES / 1024:.1f} KiB), at most `CACHE_MAX_BYTES`", "on paper"],
        ["a connection that waits", f"{client:.1f} KiB", "*waiting*: 10,000 connections"],
        ["replicas", "a hit needs no other process, so its cost does not change", "by design"],
        ["a core", f"{rounded(rate):,} hits a second", "*hit*"],
        ["N cores", f"N × {rounded(rate):,} hits a second, before the network's limit; half of it with a real network card", "on paper: two cores are here, and the load needs one"],
        [f"{PODS:,} pods with {READS_A_MINUTE} reads a minute", f"{rounded(pods):,} hits a second, {pods / rate:.0%} of one core for all replicas together", "on paper"],
        [f"{PODS:,} waiting pods on 100 replicas", f"{PODS // 100:,} connections and {PODS / 100 * client / 1024:.0f} MiB each", "on paper"],
    ]
    return table(["", "as a function", "source"], rows)


def rounded(rate: float) -> int:
    """The rate with two significant digits; an estimate has no more."""
    return int(float(f"{rate:.2g}"))


def outdated() -> list[str]:
    """The sentences about tables that differ from the committed results and counts."""
    problems = []
    if (told := read(PAGE, "summary")) not in (HERE / "results.md").read_text() or not told:
        problems.append("the table 'summary' of docs/performance.md is not the one of bench/results.md; `bench/run.sh --report` writes both.")
    problems += [
        f"the table '{name}' of {page.name} differs from bench/instructions.json; `checks/run.sh microbench --update` writes both."
        for page, tables in instructions().items()
        for name, expected in tables.items()
        if read(page, name) != expected
    ]
    return problems


if __name__ == "__main__":
    sys.exit("\n".join(f"error: {problem}" for problem in outdated()) or 0)

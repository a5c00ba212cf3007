"""The targets of what the product is for: AWS calls, outages, changes and failures."""

from __future__ import annotations

from dataclasses import dataclass

from aws_calls import NAMES, REPLICAS, place_of
from failures import FAILURES
from product_tables import beside_plain
from results import Result
from subjects import SUBJECTS

SHARED = "replica-shared"


@dataclass(frozen=True)
class Target:
    about: str
    limit: str
    measured: str
    met: bool


def product_targets(results: dict[str, Result]) -> list[Target]:
    """The targets whose scenarios have results."""
    checks = {"sdk": sdk, "aws-calls": calls, "aws-outage": outage, "change": change, "failures": failures}
    return [target for scenario, check in checks.items() if scenario in results for target in check(results[scenario])]


def sdk(result: Result) -> list[Target]:
    found = []
    for subject in ("aux-service", "main-api"):
        if ratio := beside_plain(result, subject):
            about = f"sdk: CPU of a hit by AWS's protocol ÷ CPU of a plain hit, {subject}"
            found.append(Target(about, "≤ 1.5", f"{ratio:.3f}", ratio <= 1.5))
    return found


def calls(result: Result) -> list[Target]:
    """The highest number over all numbers of names."""
    found = []
    for replicas in REPLICAS:
        again = [value for names in NAMES if (value := result.median(SHARED, f"again@{place_of(replicas, names)}")) is not None]
        if again:
            about = f"aws-calls: reads of AWS for a name and TTL after the first one, × {replicas}, {SUBJECTS[SHARED].title}"
            found.append(Target(about, "≤ 1.1", f"{max(again):.2f}", max(again) <= 1.1))
    return found


def outage(result: Result) -> list[Target]:
    answered = result.median(SHARED, "answered") or 0
    about = f"aws-outage: answered while AWS is gone and all replicas are restarted, {SUBJECTS[SHARED].title}"
    return [Target(about, "100 %", f"{answered:.3%}", answered == 1)]


def change(result: Result) -> list[Target]:
    found = []
    for subject in ("waiting-aux", "waiting-main"):
        last = result.median(subject, "last_ms")
        if last is not None:
            about = f"change: seen by 1,000 pods that wait, {SUBJECTS[subject].title.partition(',')[0]}"
            found.append(Target(about, "< 1000 ms", f"{last:.0f} ms", last < 1000))
    return found


def failures(result: Result) -> list[Target]:
    found = []
    for failure, what in FAILURES.items():
        answered, p99 = (result.median("main-api", f"{figure}@{failure}") for figure in ("answered", "p99_us"))
        if answered is not None and p99 is not None and failure != "none":
            about = f"failures: answered while aux-service {what}, main-api"
            found.append(Target(about, "100 %", f"{answered:.3%}", answered == 1))
            about = f"failures: 99th percentile while aux-service {what}, main-api"
            found.append(Target(about, "≤ 10 ms", f"{p99 / 1000:.2f} ms", p99 <= 10_000))
    return found

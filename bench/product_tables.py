"""The tables of what the product is for: AWS calls, outages, changes, failures, and AWS's own protocol."""

from __future__ import annotations

import aws_calls
from aws_calls import DIRECT, DIRECT_NAMES, NAMES, REPLICAS, place_of, price
from failures import FAILURES
from results import Result
from sdk import EMULATOR
from tables import median, quotient, table, title


def calls(result: Result) -> str:
    header = ["replicas", "names", "subject", "calls for 1,000 requests", "× fewer than boto3", "throttled", "answered"]
    header += ["names read for 1,000 answered", "read again, a name and 60 s", "USD a month"]
    rows = []
    for replicas in REPLICAS:
        direct = result.median("direct-boto3", f"calls@{place_of(replicas, DIRECT_NAMES)}")
        for names in (0, *NAMES):
            for subject in DIRECT if names == 0 else aws_calls.CACHES:
                place = place_of(replicas, names or DIRECT_NAMES)
                counted = result.median(subject, f"calls@{place}")
                if counted is None:
                    continue
                rows.append([
                    f"{replicas}",
                    f"{names:,}" if names else "any",
                    title(subject),
                    median(result, subject, f"calls@{place}"),
                    f"{direct / counted:,.1f}" if direct and counted else "",
                    *(median(result, subject, f"{figure}@{place}") for figure in ("throttled", "answered", "reads", "again")),
                    f"{price(result.median(subject, f'reads@{place}') or 0):,.0f}",
                ])
    return table(header, rows)


def outage(result: Result) -> str:
    header = ["subject", "answered during the outage", "÷ agent per pod", "answered afterwards", "oldest response"]
    agent = result.median("agent", "answered")
    rows = [
        [
            title(subject),
            median(result, subject, "answered"),
            quotient(result.median(subject, "answered"), agent),
            *(median(result, subject, figure) for figure in ("answered_after", "oldest_s")),
        ]
        for subject in result.figures
    ]
    return table(header, rows)


def change(result: Result) -> str:
    header = ["subject", "half of the pods", "all pods", "÷ polls each 60 s", "calls until then"]
    header += ["calls an hour without a change", "of them throttled"]
    polled = result.median("poll-60", "last_ms")
    rows = [
        [
            title(subject),
            median(result, subject, "half_ms"),
            median(result, subject, "last_ms"),
            f"{last / polled:.4f}" if (last := result.median(subject, "last_ms")) and polled else "",
            *(median(result, subject, figure) for figure in ("calls_a_change", "calls_an_hour", "throttled_an_hour")),
        ]
        for subject in result.figures
    ]
    return table(header, rows)


def failures(result: Result) -> str:
    header = ["aux-service", "subject", "answered", "50 %", "99 %", "99.9 %", "99 % ÷ nginx cache"]
    rows = []
    for failure, about in FAILURES.items():
        peer = result.median("nginx-cache", f"p99_us@{failure}")
        for number, subject in enumerate(result.figures):
            rows.append([
                about if number == 0 else "",
                title(subject),
                *(median(result, subject, f"{figure}@{failure}") for figure in ("answered", "p50_us", "p99_us", "p999_us")),
                quotient(result.median(subject, f"p99_us@{failure}"), peer),
            ])
    return table(header, rows)


def sdk(result: Result) -> str:
    header = ["subject", "requests/s", "× emulator", "50 %", "99 %", "CPU a request", "plain hits/s", "CPU ÷ plain hit"]
    header += ["boto3, a call", "boto3, calls/s"]
    rows = []
    for subject in result.figures:
        ratio = result.ratio(subject, EMULATOR)
        rows.append([
            title(subject),
            median(result, subject, "rate"),
            f"{ratio:,.1f}" if ratio else "",
            *(median(result, subject, figure) for figure in ("p50_us", "p99_us", "cpu_us", "plain_rate")),
            f"{beside:.2f}" if (beside := beside_plain(result, subject)) else "",
            *(median(result, subject, figure) for figure in ("boto3_p50_us", "boto3_rate")),
        ])
    return table(header, rows)


def beside_plain(result: Result, subject: str) -> float | None:
    """The CPU time of a hit by AWS's protocol, as a multiple of that of a plain hit in the same rounds."""
    wire, plain = result.median(subject, "cpu_us"), result.median(subject, "plain_cpu_us")
    return wire / plain if wire is not None and plain else None


TABLES = {"sdk": sdk, "aws-calls": calls, "aws-outage": outage, "change": change, "failures": failures}

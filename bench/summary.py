"""The first table of the report: what the product is worth, for a reader who reads nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from aws_calls import REPLICAS, place_of, price
from failures import FAILURES
from results import Result
from subjects import SUBJECTS
from tables import MIB, table

HEADER = ["question", "what people pick instead", "", "this product", "", "ratio"]

# One row: the question, the other subject with its figure, ours with its figure, and the ratio of the two.
Row = list[str]

# The rows of AWS calls are for so many names.
NAMES = 1_000


def summary(results: list[Result]) -> str:
    """The table, of the scenarios that have results; empty without any."""
    by_name = {result.scenario: result for result in results}
    rows = [row for scenario, rows_of in ROWS.items() if scenario in by_name for row in rows_of(by_name[scenario])]
    questions = [question for question, *_ in rows]
    # A question is written once, in the first of its rows.
    shown = [[row[0] if questions.index(row[0]) == number else "", *row[1:]] for number, row in enumerate(rows)]
    return table(HEADER, shown) if rows else ""


def row(
    question: str,
    result: Result,
    other: str,
    ours: str,
    figure: str,
    written: Callable[[float], str],
    ratio: Callable[[float, float], str] = lambda theirs, mine: times(theirs / mine, "less"),
) -> Iterator[Row]:
    """A row, unless a figure is missing."""
    theirs, mine = result.median(other, figure), result.median(ours, figure)
    if theirs is not None and mine is not None:
        yield [question, SUBJECTS[other].title, written(theirs), f"**{SUBJECTS[ours].title}**", f"**{written(mine)}**", ratio(theirs, mine)]


def times(factor: float, what: str) -> str:
    """`2.0 × less`; below 1 it says that there is more."""
    if factor < 1:
        factor, what = 1 / factor, {"less": "more", "more": "less"}[what]
    decimals = 2 if factor < 2 else 1 if factor < 10 else 0
    return f"{factor:,.{decimals}f} × {what}"


def calls(result: Result) -> Iterator[Row]:
    most = max((replicas for replicas in REPLICAS if result.median("replica-shared", f"reads@{place_of(replicas, NAMES)}") is not None), default=0)
    place = place_of(most, NAMES)
    for other in ("direct-boto3", "agent", "nginx-uncoalesced"):
        question = f"USD a month for AWS's higher throughput: 100 requests a second, {most} replicas, {NAMES:,} names"
        yield from row(question, result, other, "replica-shared", f"reads@{place}", lambda reads: f"{price(reads):,.0f}")
    yield from row(
        "requests that AWS's default quota leaves unanswered, of the same load",
        result, "direct-boto3", "replica-shared", f"answered@{place}", lambda share: f"{1 - share:.1%}", lambda *_: "",
    )


def outage(result: Result) -> Iterator[Row]:
    minutes = result.facts["outage_s"] / 60
    question = f"requests answered right while AWS is gone for {minutes:g} min and all replicas are restarted"
    for other in ("direct-boto3", "agent", "nginx-uncoalesced"):
        yield from row(question, result, other, "replica-shared", "answered", lambda share: f"{share:.1%}", lambda *_: "")


def change(result: Result) -> Iterator[Row]:
    for other in ("poll-60", "poll-300"):
        question = "time until 1,000 pods have seen a change"
        yield from row(question, result, other, "waiting-main", "last_ms", lambda ms: f"{ms / 1000:,.2f} s")
    yield from row("calls to AWS an hour for them", result, "poll-60", "waiting-main", "calls_an_hour", lambda number: f"{number:,.0f}")


def failures(result: Result) -> Iterator[Row]:
    for failure in ("hang", "throttle"):
        question = f"99th percentile while aux-service {FAILURES[failure]}"
        for other in ("nginx-cache", "nginx-pass"):
            yield from row(question, result, other, "main-api", f"p99_us@{failure}", lambda us: f"{us / 1000:,.1f} ms")


def hit(result: Result) -> Iterator[Row]:
    for other in ("nginx-cache", "nginx-cache-tuned", "varnish"):
        yield from row("CPU time of a cached response", result, other, "main-api", "cpu_us", lambda us: f"{us:.1f} µs")
    yield from row("its 99th percentile with 32 busy connections", result, "nginx-cache", "main-api", "p99_us", lambda us: f"{us / 1000:.2f} ms")


def sdk(result: Result) -> Iterator[Row]:
    yield from row(
        "`GetParameter` calls a second on one core", result, "moto", "aux-service", "rate",
        lambda rate: f"{rate:,.0f}", lambda theirs, mine: times(mine / theirs, "more"),
    )


def waiting(result: Result) -> Iterator[Row]:
    question = "CPU, of a core, for 10,000 clients that want to know of changes within a second"
    for other in ("nginx-cache", "varnish"):
        yield from row(question, result, other, "waiting-main", "quiet_10000", lambda share: f"{share:.1%}")


def start(result: Result) -> Iterator[Row]:
    yield from row("memory with 10,000 parameters cached", result, "varnish", "main-api", "memory_bytes", lambda size: f"{size / MIB:.0f} MiB")


# In the order of the table.
ROWS: dict[str, Callable[[Result], Iterator[Row]]] = {
    "aws-calls": calls,
    "aws-outage": outage,
    "change": change,
    "failures": failures,
    "hit": hit,
    "sdk": sdk,
    "waiting": waiting,
    "start": start,
}

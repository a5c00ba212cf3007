"""The scenarios. Each has its subjects, and one of them is the yardstick of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import aws_calls
import aws_outage
import change
import failures
import fleet
import outage
import sdk
import source
import start
import waiting
from closed_loop import Questions, measure
from options import Options
from results import Result
from stage import Stage

CACHES = ("aux-service", "main-api", "nginx-cache", "nginx-cache-tuned", "varnish")
# The yardstick where nginx's usual configuration often waits for 40 ms: tcp_nopush, or Nagle's algorithm between pipelined
# responses, delays bytes until the client's delayed acknowledgement. A ratio to those times would be meaningless.
TUNED = "nginx-cache-tuned"
LIMITS = ("nginx-return", "hyper")

ONE = source.path(42)
UNKNOWN = "/param/bench/unknown"


@dataclass(frozen=True)
class Scenario:
    name: str
    about: str
    subjects: tuple[str, ...]
    yardstick: str | None
    measure: Callable[[Options, Stage, Result], None]


def _closed(name: str, about: str, subjects: tuple[str, ...], questions: Questions, yardstick: str = "nginx-cache") -> Scenario:
    return Scenario(name, about, subjects, yardstick, partial(measure, questions))


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        _closed(
            "hit",
            "one cached parameter of 1,000 bytes",
            (*CACHES, "nginx-pass", *LIMITS),
            Questions(ONE),
        ),
        Scenario(
            "sdk",
            "the same parameter by AWS's own protocol, as an SDK sends it: GetParameter",
            sdk.SUBJECTS,
            sdk.EMULATOR,
            sdk.measure,
        ),
        _closed(
            "pass",
            "nothing is kept: each request goes on to aux-service, which answers from its cache on the same core",
            ("main-api-pass", "nginx-pass"),
            Questions(ONE),
            yardstick="nginx-pass",
        ),
        _closed(
            "not-modified",
            "the same with If-None-Match: 304 and no body",
            CACHES,
            Questions(ONE, status=304),
        ),
        _closed(
            "negative",
            "a parameter that does not exist, remembered: 404",
            CACHES,
            Questions(UNKNOWN, status=404),
        ),
        _closed(
            "list",
            "the names of all parameters, 100 KiB",
            (*CACHES, "hyper"),
            Questions("/params", data="names"),
            yardstick=TUNED,
        ),
        _closed(
            "zipf",
            "10,000 cached parameters, the n-th most wanted 1/n as often as the first",
            CACHES,
            Questions(ONE, script="zipf.lua", arguments=(str(source.PARAMETERS), source.PATTERN), warm_all=True),
        ),
        _closed(
            "pipelined",
            "16 requests a write",
            (*CACHES, *LIMITS),
            Questions(ONE, script="pipelined.lua", latencies=False),
            yardstick=TUNED,
        ),
        _closed(
            "connect",
            "a new connection for each request",
            (*CACHES, *LIMITS),
            Questions(ONE, headers=(("Connection", "close"),)),
        ),
        Scenario(
            "outage",
            "aux-service is dead, and what is answered is stale: latency at a fixed rate",
            outage.SUBJECTS,
            None,
            outage.measure,
        ),
        Scenario(
            "start",
            "from exec to the first 200 of /readyz, and memory with 10,000 parameters cached",
            start.SUBJECTS,
            None,
            start.measure,
        ),
        Scenario(
            "fleet",
            "several replicas of aux-service: reads of AWS for each name",
            fleet.SUBJECTS,
            None,
            fleet.measure,
        ),
        Scenario(
            "waiting",
            "clients that wait for a change, beside clients that ask each second",
            waiting.SUBJECTS,
            None,
            waiting.measure,
        ),
        Scenario(
            "aws-calls",
            "the calls to AWS of each way to read it, by replicas and names",
            aws_calls.SUBJECTS,
            None,
            aws_calls.measure,
        ),
        Scenario(
            "aws-outage",
            "AWS is gone for minutes, and all replicas are restarted meanwhile: the share of requests that are answered right",
            aws_outage.SUBJECTS,
            None,
            aws_outage.measure,
        ),
        Scenario(
            "change",
            "from a change to its being seen by 1,000 pods, and the calls to AWS for it: polled and pushed",
            change.SUBJECTS,
            None,
            change.measure,
        ),
        Scenario(
            "failures",
            "aux-service hangs, resets, is throttled and restarts: latency at a fixed rate",
            failures.SUBJECTS,
            None,
            failures.measure,
        ),
    )
}

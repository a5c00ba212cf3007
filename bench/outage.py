"""The source is killed, and its clients respond from their caches."""

from __future__ import annotations

import signal
import time

import source
from closed_loop import Questions, right_answer
from generators import closed_loop, open_loop
from http_client import ask
from options import Options
from results import Result
from stage import AUTHORIZATION, Stage
from subjects import SUBJECTS as ALL

SUBJECTS = ("main-api", "nginx-cache", "nginx-cache-tuned", "varnish")

TTL_SECONDS = 1

QUESTIONS = Questions(source.path(42))


def measure(options: Options, stage: Stage, result: Result) -> None:
    # All subjects may use a stale entry for longer than this scenario takes.
    stage.ttl = f"{TTL_SECONDS}s"
    truth = ask(stage.start(ALL["aux-service"]).address, QUESTIONS.path, AUTHORIZATION)
    servers = [stage.start(ALL[subject]) for subject in result.figures]

    top: dict[str, float] = {}
    for server in servers:
        expected = right_answer(QUESTIONS, server, AUTHORIZATION, truth)
        top[server.subject] = closed_loop(server, expected, QUESTIONS.path, AUTHORIZATION, 1, "done.lua").rate
    slowest = min(top, key=lambda subject: top[subject])
    rate = round(top[slowest] / 2)
    result.notes.append(f"{rate:,} requests a second, half of what the slowest of them ({ALL[slowest].title}) reaches.")
    options.say(f"{rate:,} requests a second for each")

    stage.source.process.end(signal.SIGKILL)
    # After this time no subject has a fresh entry.
    time.sleep(TTL_SECONDS + 0.5)
    for number in range(1, options.rounds + 1):
        for server in servers:
            expected = right_answer(QUESTIONS, server, AUTHORIZATION, truth)
            cpu, elsewhere = server.process.cpu_seconds(), stage.elsewhere()
            told = open_loop(server, expected, QUESTIONS.path, AUTHORIZATION, options.seconds, rate)
            cpu = server.process.cpu_seconds() - cpu
            disturbed = stage.disturbed(elsewhere)
            result.add(
                server.subject,
                rate=told["rate"],
                p50_us=told["p50_us"],
                p99_us=told["p99_us"],
                p999_us=told["p999_us"],
                max_us=told["max_us"],
                late=told["late"],
                cpu_us=cpu / told["requests"] * 1e6,
                memory_bytes=server.process.resident_bytes(),
                disturbed=disturbed,
            )
            options.say(f"round {number} of {options.rounds}: {server.subject} 99 % within {told['p99_us']:,.0f} µs")

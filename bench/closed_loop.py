"""Scenarios with 32 connections, each of which sends its next request once it has a response."""

from __future__ import annotations

from dataclasses import dataclass

import source
from generators import closed_loop
from http_client import Answer, Headers, ask, ask_all
from options import Options
from processes import Failed
from results import Result
from stage import AUTHORIZATION, Server, Stage
from subjects import SUBJECTS


@dataclass(frozen=True)
class Questions:
    path: str
    # The expected status. For 304 the requests have If-None-Match.
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    # The body of a POST; empty for a GET. The script sends it too.
    body: str = ""
    script: str = "done.lua"
    arguments: tuple[str, ...] = ()
    # The data of the source.
    data: str = "parameters"
    # False where wrk's latencies are wrong: it counts pipelined responses as late.
    latencies: bool = True
    # True: each parameter is requested once before the measurement.
    warm_all: bool = False


def measure(questions: Questions, options: Options, stage: Stage, result: Result) -> None:
    stage.data = questions.data
    headers = AUTHORIZATION | dict(questions.headers)
    truth = ask(stage.start(SUBJECTS["aux-service"]).address, questions.path, headers, questions.body)
    stage.constant_bytes = len(truth.body)
    servers = [stage.start(SUBJECTS[subject]) for subject in result.figures]
    for server in servers:
        if questions.warm_all:
            options.say(f"{server.subject}: {source.PARAMETERS} parameters into the cache")
            warm(server)

    for number in range(1, options.rounds + 1):
        for server in servers:
            headers = asked_with(questions, server)
            expected = right_answer(questions, server, headers, truth)
            before = source.requests(stage.source.address)
            elsewhere = stage.elsewhere()
            load = closed_loop(server, expected, questions.path, headers, options.seconds, questions.script, *questions.arguments)
            disturbed = stage.disturbed(elsewhere)
            check_source(server, load.requests, source.requests(stage.source.address) - before)
            result.add(
                server.subject,
                rate=load.rate,
                **({"p50_us": load.p50_us, "p99_us": load.p99_us} if questions.latencies else {}),
                cpu_us=load.cpu_us,
                memory_bytes=server.process.resident_bytes(),
                generator=load.generator,
                disturbed=disturbed,
            )
            options.say(f"round {number} of {options.rounds}: {server.subject} {load.rate:,.0f}/s")


def warm(server: Server) -> None:
    """Requests each parameter once and checks its value."""
    paths = [source.path(index) for index in range(source.PARAMETERS)]
    for index, answer in enumerate(ask_all(server.address, paths, AUTHORIZATION)):
        if answer.status != 200 or answer.meaning() != {"value": source.value(index)}:
            raise Failed(f"{server.subject} gave a wrong answer to {paths[index]}: {answer.status} {answer.body[:200]!r}")


def asked_with(questions: Questions, server: Server) -> Headers:
    headers = AUTHORIZATION | dict(questions.headers)
    if questions.status == 304:
        headers["If-None-Match"] = ask(server.address, questions.path, AUTHORIZATION).headers["etag"]
    return headers


def right_answer(questions: Questions, server: Server, headers: Headers, truth: Answer) -> Answer:
    """Sends the scenario's request and returns the response. Raises if it differs from the source's."""
    # The first request may be a miss.
    ask(server.address, questions.path, headers, questions.body)
    answer = ask(server.address, questions.path, headers, questions.body)
    if questions.status == 304:
        right = not answer.body
    elif SUBJECTS[server.subject].limit:
        right = len(answer.body) == len(truth.body)
    else:
        right = answer.meaning() == truth.meaning()
    if answer.status != questions.status or not right:
        raise Failed(f"{server.subject} gave a wrong answer to {questions.path}: {answer.status} {answer.body[:200]!r}")
    return answer


def check_source(server: Server, requests: int, asked: int) -> None:
    """Raises if a cache sent requests to its source, or if a proxy did not."""
    subject = SUBJECTS[server.subject]
    if subject.name == "aux-service":
        return
    if subject.asks_source and asked < requests:
        raise Failed(f"{server.subject} asked the source {asked} times only, for {requests} requests")
    if not subject.asks_source and asked:
        raise Failed(f"{server.subject} asked the source {asked} times, and should have answered from its cache")

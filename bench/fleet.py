"""The calls to AWS of several replicas of aux-service, with and without a shared cache."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import source
from fake_aws import FakeAws
from http_client import ask_all
from options import Options
from processes import Failed, Process
from results import Result
from stage import AUTHORIZATION, Stage, Subject, free_address, program, wait_until_it_answers
from subjects import SUBJECTS as ALL

SUBJECTS = ("fleet-alone", "fleet-shared")

REPLICAS = (1, 3, 10)
NAMES = [source.path(index) for index in range(100)]
TTL_SECONDS = 2
# The time between two requests for one name to one replica.
PACE_SECONDS = 1.0
TTLS = 5


def measure(options: Options, stage: Stage, result: Result) -> None:
    stage.ttl = stage.stale = f"{TTL_SECONDS}s"
    for subject in result.figures:
        for replicas in REPLICAS:
            with ExitStack() as stack, FakeAws() as aws:
                folder = stage.folder / f"{subject}-{replicas}"
                folder.mkdir()
                stage.aws = aws.url
                if subject == "fleet-shared":
                    stage.engine = start_engine(stage, stack, folder)
                addresses = [start_replica(stage, stack, ALL[subject], folder / str(number)) for number in range(replicas)]
                cold, steady = calls(addresses, aws)
                result.add(subject, **{f"cold_{replicas}": cold, f"steady_{replicas}": steady})
                options.say(f"{ALL[subject].title}, {replicas} replicas: {cold:.2f} reads a name cold, {steady:.2f} a TTL")
                if subject == "fleet-shared" and replicas == REPLICAS[0]:
                    latencies(result, subject, start_replica(stage, stack, ALL[subject], folder / "new"))
    result.notes.append(
        f"{len(NAMES)} names with a TTL of {TTL_SECONDS} s. All replicas start together; each gets a request for each name every"
        f" {PACE_SECONDS:g} s, for {TTLS} TTLs after the first one. A read is one name in a call to AWS. The latencies are those"
        " of a new replica: its first request for a name, which the shared cache answers, and the second one, a hit in memory."
    )


def calls(addresses: list[str], aws: FakeAws) -> tuple[float, float]:
    """The reads of AWS a name: cold, and in each TTL after that."""
    together(addresses, lambda address: ask(address, 0))
    cold = aws.reads
    rounds, begin = round(TTLS * TTL_SECONDS / PACE_SECONDS), time.monotonic()
    together(addresses, lambda address: [ask(address, PACE_SECONDS) for _ in range(rounds)])
    # A busy machine takes longer than the pace.
    ttls = (time.monotonic() - begin) / TTL_SECONDS
    return cold / len(NAMES), (aws.reads - cold) / len(NAMES) / ttls


def together(addresses: list[str], work) -> None:
    failures: list[Exception] = []

    def run(address: str) -> None:
        try:
            work(address)
        except Exception as failure:  # noqa: BLE001
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(address,)) for address in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def ask(address: str, seconds: float) -> list[float]:
    """Requests each name once, spread over this time. Returns the latencies in microseconds."""
    latencies, begin = [], time.monotonic()
    answers = ask_all(address, NAMES, AUTHORIZATION)
    for number in range(len(NAMES)):
        time.sleep(max(0.0, begin + seconds * number / len(NAMES) - time.monotonic()))
        sent = time.monotonic()
        answer = next(answers)
        latencies.append((time.monotonic() - sent) * 1e6)
        if answer.status != 200:
            raise Failed(f"{address}{NAMES[number]} answered {answer.status}: {answer.body[:200]!r}")
    time.sleep(max(0.0, begin + seconds - time.monotonic()))
    return latencies


def latencies(result: Result, subject: str, address: str) -> None:
    result.add(subject, p50_shared_us=statistics.median(ask(address, 0)))
    result.add(subject, p50_hit_us=statistics.median(ask(address, 0)))


def start_replica(stage: Stage, stack: ExitStack, subject: Subject, folder: Path) -> str:
    folder.mkdir()
    address = free_address()
    command = subject.command(stage, address, folder)
    process = stack.enter_context(Process(subject.title, command, stage.core, folder / "log"))
    wait_until_it_answers(process, address)
    return address


def start_engine(stage: Stage, stack: ExitStack, folder: Path) -> str:
    host, port = free_address().split(":")
    command = [program("redis-server"), "--bind", host, "--port", port, "--save", "", "--dir", str(folder)]
    process = stack.enter_context(Process("redis-server", command, stage.core, folder / "engine.log"))
    # A replica that starts before the engine would be alone at first.
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return f"redis://{host}:{port}"
        except ConnectionRefusedError:
            process.check()
            time.sleep(0.02)

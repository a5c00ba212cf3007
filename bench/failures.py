"""The latency of a fixed rate of requests while aux-service fails in several ways."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack

import source
from generators import replay
from http_client import ask_all
from options import Options
from processes import Failed, Process
from readers import write_requests
from results import Result
from stage import AUTHORIZATION, HERE, Server, Stage, free_address, wait_until_it_answers
from subjects import SUBJECTS as ALL

SUBJECTS = ("main-api", "nginx-cache", "varnish", "main-api-pass", "nginx-pass")

# The ways in which aux-service fails; `none` is the yardstick.
FAILURES = {
    "none": "nothing fails",
    "hang": "hangs",
    "reset": "resets connections",
    "throttle": "is throttled",
    "restart": "restarts",
}
NAMES = 100
REQUESTS_A_SECOND = 1_000
CONNECTIONS = 256
SECONDS, QUICK_SECONDS = 6, 3
ROUNDS = 3
# Each entry is stale soon, so that caches need aux-service, and may be used while it fails.
TTL_SECONDS = 1


def measure(options: Options, stage: Stage, result: Result) -> None:
    seconds, rounds = (QUICK_SECONDS, 1) if options.quick else (SECONDS, ROUNDS)
    stage.ttl = f"{TTL_SECONDS}s"
    stage.start(ALL["aux-service"])
    behind = stage.source
    requests = write_requests(stage.folder / "requests", NAMES, seconds * REQUESTS_A_SECOND, source.value)
    relay = start_relay(stage, behind)
    # The subjects find aux-service behind the relay.
    stage.servers |= {"aux-service": relay, "behind the relay": behind}
    servers = [stage.start(ALL[subject]) for subject in result.figures]
    for server in servers:
        warm(server)
    for number in range(1, rounds + 1):
        for failure in FAILURES:
            for server in servers:
                elsewhere = stage.elsewhere()
                with ExitStack() as failing:
                    begin(failing, failure, stage, relay, behind, seconds)
                    seen = replay(
                        f"{server.subject}, {FAILURES[failure]}",
                        [server.address],
                        requests,
                        AUTHORIZATION,
                        seconds,
                        REQUESTS_A_SECOND,
                        CONNECTIONS,
                    )
                if failure == "none":
                    seen.works(server.subject)
                result.add(server.subject, disturbed=stage.disturbed(elsewhere), **{
                    f"answered@{failure}": seen.right / seen.requests,
                    f"p50_us@{failure}": seen.p50_us,
                    f"p99_us@{failure}": seen.p99_us,
                    f"p999_us@{failure}": seen.p999_us,
                })
                options.say(
                    f"round {number} of {rounds}: {server.subject}, {FAILURES[failure]}: {seen.right / seen.requests:.1%} answered,"
                    f" 99 % within {seen.p99_us / 1000:,.1f} ms" + (f"; the first failure: {seen.error:.120}" if seen.error else "")
                )
    result.notes.append(
        f"{REQUESTS_A_SECOND:,} requests a second for {NAMES} names, for {seconds} s each time; all names were requested before, and their"
        f" entries are fresh for {TTL_SECONDS} s and usable for an hour. A relay in front of aux-service holds all bytes back, resets"
        " connections, or responds 503 with `Retry-After: 1`, for the whole time; a restart is SIGTERM and a new process each second."
        " Latency counts from the time at which a request was due. A request without a right response counts with the time until it failed,"
        " at most 5 s, when its client gives up. The subjects share a core with aux-service and the relay."
    )


def warm(server: Server) -> None:
    paths = [source.path(index) for index in range(NAMES)]
    for index, answer in enumerate(ask_all(server.address, paths, AUTHORIZATION)):
        if answer.status != 200 or answer.meaning() != {"value": source.value(index)}:
            raise Failed(f"{server.subject} gave a wrong answer to {paths[index]}: {answer.status} {answer.body[:200]!r}")


def start_relay(stage: Stage, behind: Server) -> Server:
    address = free_address()
    command = [sys.executable, str(HERE / "relay.py"), address, behind.address]
    process = stage.stack.enter_context(Process("the relay", command, stage.core, stage.folder / "relay.log"))
    wait_until_it_answers(process, address)
    return Server("aux-service", address, process)


def set_mode(relay: Server, mode: str) -> None:
    host, port = relay.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(f"MODE {mode}\n".encode())
        if connection.recv(16) != b"ok\n":
            raise Failed(f"the relay does not accept the mode {mode}")


def begin(failing: ExitStack, failure: str, stage: Stage, relay: Server, behind: Server, seconds: int) -> None:
    """Lets aux-service fail until the end of the context."""
    if failure == "restart":
        ended = threading.Event()
        thread = threading.Thread(target=restarts, args=(ended, stage, behind))
        failing.callback(thread.join)
        failing.callback(ended.set)
        thread.start()
    elif failure != "none":
        failing.callback(set_mode, relay, "pass")
        set_mode(relay, failure)
        # After this time no subject has a fresh entry.
        time.sleep(TTL_SECONDS + 0.5)


def restarts(ended: threading.Event, stage: Stage, behind: Server) -> None:
    """Restarts aux-service each second, at the same address."""
    number = 0
    while not ended.wait(1.0):
        number += 1
        behind.process.end(signal.SIGTERM)
        folder = stage.folder / f"restart-{time.monotonic_ns()}"
        folder.mkdir()
        command = ALL["aux-service"].command(stage, behind.address, folder)
        behind.process = stage.stack.enter_context(Process("aux-service", command, stage.core, folder / "log"))
        wait_until_it_answers(behind.process, behind.address)

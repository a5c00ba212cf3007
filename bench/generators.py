"""The load generators: wrk, which waits for each response, and our open loop, which sends at a fixed rate."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from http_client import Answer, Headers
from processes import Failed
from stage import BINARIES, HERE, Server, program

CONNECTIONS = 32

# The time that thousands of clients need to connect.
CONNECT_SECONDS = 3

# The headers Age and Date of two responses may differ in length.
HEADER_SLACK = 32


@dataclass(frozen=True)
class Load:
    """The figures of one run, after a check of every response."""

    requests: int
    # Requests per second.
    rate: float
    p50_us: float
    p99_us: float
    # CPU time per request, in all processes of the subject.
    cpu_us: float
    # The share of its core that the generator used. Near 1, the generator may have limited the rate.
    generator: float


def closed_loop(server: Server, expected: Answer, path: str, headers: Headers, seconds: int, script: str, *arguments: str) -> Load:
    """Runs wrk. Raises if a response differs from the expected one."""
    command = [program("wrk"), "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--script", script]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    command += [f"http://{server.address}{path}", "--", *arguments]
    cpu, generator = server.process.cpu_seconds(), children_seconds()
    begin = time.monotonic()
    told = run(command)
    took = time.monotonic() - begin
    cpu, generator = server.process.cpu_seconds() - cpu, children_seconds() - generator

    requests = told["requests"]
    if not requests:
        raise Failed(f"{server.subject} answered nothing")
    # wrk counts a status above 399 as bad, also an expected 404.
    if told["bad_status"] != (requests if expected.status > 399 else 0):
        raise Failed(f"{server.subject}: {told['bad_status']} of {requests} answers had a status above 399")
    if told["broken"]:
        raise Failed(f"{server.subject}: {told['broken']} requests were not answered (no connection, broken off or too slow)")
    # At the end, each connection may have read a part of a response that wrk does not count.
    if abs(told["bytes"] - requests * expected.wire_bytes) > requests * HEADER_SLACK + CONNECTIONS * expected.wire_bytes:
        raise Failed(f"{server.subject}: answers had {told['bytes'] / requests:.0f} bytes and not {expected.wire_bytes}")
    return Load(
        requests=requests,
        rate=requests / told["duration_us"] * 1e6,
        p50_us=told["p50_us"],
        p99_us=told["p99_us"],
        cpu_us=cpu / requests * 1e6,
        generator=generator / took,
    )


def open_loop(
    server: Server, expected: Answer, path: str, headers: Headers, seconds: int, rate: int, connections: int = CONNECTIONS
) -> dict[str, float]:
    """Latencies from the time at which each request was due. Raises if a response differs from the expected one."""
    command = [str(BINARIES / "open_loop"), server.address, path, "--rate", str(rate), "--duration", f"{seconds}s"]
    command += ["--connections", str(connections), "--status", str(expected.status), "--body-bytes", str(len(expected.body))]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    told = run(command)
    if told["errors"]:
        raise Failed(f"{server.subject}: {told['errors']} of {told['requests']} answers were wrong; the first: {told['error']}")
    return {key: float(told[key]) for key in ("rate", "late", "requests", "p50_us", "p90_us", "p99_us", "p999_us", "max_us")}


@dataclass(frozen=True)
class Replayed:
    """The outcome of a list of requests. A wrong body ends the run; the other failures are counted."""

    requests: int
    right: int
    p50_us: float
    p99_us: float
    p999_us: float
    # The oldest right response, if its value has a stamp.
    oldest_s: float
    # The share of right responses, by the second in which the requests were due.
    seconds: list[float]
    # The first failure, for the person who looks for the reason.
    error: str | None

    def works(self, subject: str) -> None:
        """Raises if there is no right response at all."""
        if not self.right:
            raise Failed(f"{subject} gave no right response; the first error: {self.error}")


def replay(
    subject: str, addresses: Sequence[str], requests: Path, headers: Headers, seconds: int, rate: int, connections: int, *options: str
) -> Replayed:
    """Sends a list of requests at a fixed rate to the replicas. Raises if a response has the body of another one."""
    command = [str(BINARIES / "open_loop"), ",".join(addresses), "--requests", str(requests), "--rate", str(rate)]
    command += ["--duration", f"{seconds}s", "--connections", str(connections), *options]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    told = run(command)
    if told["wrong"]:
        raise Failed(f"{subject}: {told['wrong']} of {told['requests']} responses were wrong; the first error: {told['error']}")
    return Replayed(
        requests=told["requests"],
        right=told["right"],
        p50_us=told["p50_us"],
        p99_us=told["p99_us"],
        p999_us=told["p999_us"],
        oldest_s=told["oldest_s"],
        seconds=[right / all_of_them if all_of_them else 1.0 for right, all_of_them in told["seconds"]],
        error=told["error"],
    )


def polling(server: Server, expected: Answer, path: str, headers: Headers, clients: int, seconds: int) -> tuple[float, float]:
    """Each client sends a request a second, on a connection of its own. Returns the share of a core that the server uses, and the
    requests a second to which it responded."""
    duration = CONNECT_SECONDS + seconds + 1
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(open_loop, server, expected, path, headers, duration, clients, clients)
        time.sleep(CONNECT_SECONDS)
        begin, cpu = time.monotonic(), server.process.cpu_seconds()
        time.sleep(seconds)
        core = (server.process.cpu_seconds() - cpu) / (time.monotonic() - begin)
        return core, load.result()["rate"]


def run(command: Sequence[str]) -> dict[str, Any]:
    """A generator's figures: JSON in the last line of its output."""
    # The generator inherits this program's core.
    done = subprocess.run(command, check=False, cwd=HERE / "load", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = done.stdout.splitlines()
    if done.returncode or not lines or not lines[-1].startswith("{"):
        raise Failed(f"{command[0]} failed: {done.stdout.strip()}")
    told: dict[str, Any] = json.loads(lines[-1])
    return told


def children_seconds() -> float:
    """CPU time of all programs that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

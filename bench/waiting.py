"""Clients that wait for changes, and what each of them costs, beside clients that ask nginx or Varnish each second."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from contextlib import ExitStack
from typing import Any

import source
from closed_loop import Questions, right_answer
from fake_aws import FakeAws
from generators import polling
from http_client import ask, ask_all
from options import Options
from processes import Failed
from results import Result
from stage import AUTHORIZATION, BINARIES, Server, Stage
from subjects import SUBJECTS as ALL

WAITING = ("waiting-aux", "waiting-main")
POLLED = ("nginx-cache", "varnish")
SUBJECTS = (*WAITING, *POLLED)

CLIENTS = (1_000, 10_000)
STREAMS = 1_000
STREAM = "/changes"
# At a drain, so many clients wait, and as many read the stream.
DRAINED = 1_000
NAMES = [source.path(index) for index in range(300)]

# A client waits 55 s and then asks again, so each one does so once in this time.
QUIET_SECONDS = 55.0
# The time in which buffers that are no longer needed are freed.
SETTLE_SECONDS = 3.0
TIMEOUT = 30.0

# What curl sends.
HEADERS = AUTHORIZATION | {"User-Agent": "curl/8.11.1", "Accept": "*/*"}


def measure(options: Options, stage: Stage, result: Result) -> None:
    for subject in WAITING:
        for clients in CLIENTS:
            waits(options, stage, result, subject, clients)
        streams(options, stage, result, subject)
        for number in range(options.rounds):
            result.add(subject, drain_ms=drain(stage, subject, number))
        options.say(f"{subject}: drained in {result.median(subject, 'drain_ms'):.0f} ms")
    polls(options, stage, result)
    result.notes.append(
        f"Waiting: each client has a connection, and sends `Prefer: wait=55` with the tag that it has; {len(NAMES)} names with the"
        f" default TTL. The CPU time is that of {QUIET_SECONDS:.0f} s without a change, in which each client asks again once."
        " A change is an event in the queue, and its time ends when the last of the clients has its response. For main-api it passes"
        " through aux-service on the same core. nginx and Varnish: each client asks with `If-None-Match` each second, and they"
        " respond from their caches, whose entries stay fresh for the whole time. Memory is that of the process: the kernel's for"
        " a connection comes in addition, for all alike. The clients run on the other core."
    )


class Followers:
    """The program with the clients that wait."""

    def __init__(self, stack: ExitStack, address: str, clients: int, paths: list[str], stream: bool = False) -> None:
        self.address, self.clients, self.kind = address, clients, "stream" if stream else "wait"
        command = [str(BINARIES / "followers"), address, *paths, "--clients", str(clients), *(["--stream"] if stream else [])]
        for name, value in HEADERS.items():
            command += ["--header", f"{name}: {value}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"PATH": os.environ["PATH"]}, text=True
        )
        stack.callback(self.end)
        self.line()
        self.until_all_wait()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def command(self, command: str) -> None:
        assert self.process.stdin
        try:
            self.process.stdin.write(f"{command}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            # The next line is the end, with the reason.
            pass

    def line(self) -> dict[str, Any]:
        assert self.process.stdout and self.process.stderr
        text = self.process.stdout.readline()
        if not text:
            raise Failed(f"followers failed: {self.process.stderr.read().strip()}")
        told: dict[str, Any] = json.loads(text)
        return told

    def until_all_wait(self) -> None:
        end = time.monotonic() + TIMEOUT
        while (waiting := waiting_requests(self.address, self.kind)) != self.clients:
            if self.process.poll() is not None:
                self.line()
            if time.monotonic() > end:
                raise Failed(f"{waiting} of {self.clients} clients wait after {TIMEOUT:.0f} s")
            time.sleep(0.1)

    def learn(self, aws: FakeAws, path: str, clients: int) -> float:
        """Changes a parameter. Returns the milliseconds until the last of so many clients has the response."""
        self.command(str(clients))
        changed = aws.change(path.removeprefix("/param"))
        took = (self.line()["last"] - changed) * 1000
        self.until_all_wait()
        return took


def waits(options: Options, stage: Stage, result: Result, subject: str, clients: int) -> None:
    with ExitStack() as stack, FakeAws() as aws:
        own, server = start(stage, stack, aws, subject, f"{clients}-waits")
        before = server.process.resident_bytes()
        with ExitStack() as attached:
            followers = Followers(attached, server.address, clients, NAMES)
            time.sleep(SETTLE_SECONDS)
            kib = (server.process.resident_bytes() - before) / clients / 1024
            cpu, elsewhere = quiet(own, server)
            followers.until_all_wait()
            one_name = [followers.learn(aws, path, clients_of(index, clients)) for index, path in enumerate(NAMES[: options.rounds])]
        with ExitStack() as attached:
            followers = Followers(attached, server.address, clients, NAMES[:1])
            everyone = [followers.learn(aws, NAMES[0], clients) for _ in range(options.rounds)]
            time.sleep(SETTLE_SECONDS)
            changed_kib = (server.process.resident_bytes() - before) / clients / 1024
    figures = {f"kib_{clients}": kib, f"kib_changed_{clients}": changed_kib, f"quiet_{clients}": cpu}
    result.add(subject, **figures, disturbed=elsewhere)
    for name, all_of_them in zip(one_name, everyone):
        result.add(subject, **{f"name_ms_{clients}": name, f"all_ms_{clients}": all_of_them})
    options.say(
        f"{subject}, {clients:,} clients: {kib:.1f} KiB each ({changed_kib:.1f} after changes), {cpu:.2%} of a core,"
        f" last response after {max(one_name):.0f} ms (one name) and {max(everyone):.0f} ms (all)"
    )


def clients_of(index: int, clients: int) -> int:
    """The number of clients that wait for a name. They take the names in turn."""
    return clients // len(NAMES) + (index < clients % len(NAMES))


def streams(options: Options, stage: Stage, result: Result, subject: str) -> None:
    with ExitStack() as stack, FakeAws() as aws:
        own, server = start(stage, stack, aws, subject, "streams")
        before = server.process.resident_bytes()
        followers = Followers(stack, server.address, STREAMS, [STREAM], stream=True)
        time.sleep(SETTLE_SECONDS)
        kib = (server.process.resident_bytes() - before) / STREAMS / 1024
        cpu, elsewhere = quiet(own, server)
        took = [followers.learn(aws, NAMES[0], STREAMS) for _ in range(options.rounds)]
    result.add(subject, stream_kib=kib, stream_quiet=cpu, disturbed=elsewhere)
    for milliseconds in took:
        result.add(subject, stream_ms=milliseconds)
    options.say(f"{subject}, {STREAMS:,} streams: {kib:.1f} KiB each, {cpu:.2%} of a core, last event after {max(took):.0f} ms")


def drain(stage: Stage, subject: str, number: int) -> float:
    """The milliseconds from SIGTERM to the end of the process, while clients wait. Raises if one of them is cut off."""
    with ExitStack() as stack, FakeAws() as aws:
        _, server = start(stage, stack, aws, subject, f"drain-{number}")
        everyone = [
            Followers(stack, server.address, DRAINED, NAMES),
            Followers(stack, server.address, DRAINED, [STREAM], stream=True),
        ]
        for followers in everyone:
            followers.command("drain")
            followers.line()
        begin = time.monotonic()
        server.process.end(signal.SIGTERM)
        took = (time.monotonic() - begin) * 1000
        for followers in everyone:
            followers.command("ended")
            followers.line()
        return took


def quiet(stage: Stage, server: Server) -> tuple[float, float]:
    """The share of a core that the server uses while nothing changes, and the share that other programs use."""
    elsewhere, begin, cpu = stage.elsewhere(), time.monotonic(), server.process.cpu_seconds()
    time.sleep(QUIET_SECONDS)
    return (server.process.cpu_seconds() - cpu) / (time.monotonic() - begin), stage.disturbed(elsewhere)


def polls(options: Options, stage: Stage, result: Result) -> None:
    stage.connections = 2 * max(CLIENTS)
    truth = ask(stage.start(ALL["aux-service"]).address, NAMES[0], HEADERS)
    for subject in POLLED:
        server = stage.start(ALL[subject])
        current = right_answer(Questions(NAMES[0]), server, HEADERS, truth)
        headers = HEADERS | {"If-None-Match": current.headers["etag"]}
        expected = right_answer(Questions(NAMES[0], status=304), server, headers, truth)
        for clients in CLIENTS:
            for _ in range(options.rounds):
                elsewhere = stage.elsewhere()
                core, rate = polling(server, expected, NAMES[0], headers, clients, options.seconds)
                result.add(subject, **{f"quiet_{clients}": core, f"polls_{clients}": rate}, disturbed=stage.disturbed(elsewhere))
            core, rate = (result.median(subject, f"{figure}_{clients}") for figure in ("quiet", "polls"))
            options.say(f"{subject}, {clients:,} clients: {core:.1%} of a core for {rate:,.0f} requests a second")


def start(stage: Stage, stack: ExitStack, aws: FakeAws, subject: str, run: str) -> tuple[Stage, Server]:
    """Starts aux-service, main-api in front of it if that is the subject, and reads all names."""
    own = Stage(stage.folder / f"{subject}-{run}", stage.core, stack, aws=aws.url, queue=aws.queue_url)
    for name in WAITING[: WAITING.index(subject) + 1]:
        server = own.start(ALL[name])
    end = time.monotonic() + TIMEOUT
    # main-api learns of changes once it follows aux-service.
    while json.loads(ask(server.address, "/readyz", {}).body)["dependencies"].get("changes", "ok") != "ok":
        if time.monotonic() > end:
            raise Failed(f"{server.process.name} does not follow the changes")
        time.sleep(0.05)
    for path, answer in zip(NAMES, ask_all(server.address, NAMES, HEADERS)):
        if answer.status != 200:
            raise Failed(f"{server.process.name} gave a wrong answer to {path}: {answer.status} {answer.body[:200]!r}")
    return own, server


def waiting_requests(address: str, kind: str) -> int:
    metrics = ask(address, "/metrics", {}).body.decode()
    found = re.search(rf'^waiting_requests{{kind="{kind}"}} (\d+)$', metrics, re.MULTILINE)
    return int(found[1]) if found else 0

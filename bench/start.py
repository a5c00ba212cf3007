"""The duration of a start, and the memory of 10,000 cached parameters."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

import source
from closed_loop import Questions, right_answer, warm
from generators import closed_loop
from http_client import ask
from options import Options
from processes import Failed, Process
from results import Result
from services import service
from stage import AUTHORIZATION, Stage, free_address
from subjects import SUBJECTS as ALL

SUBJECTS = ("aux-service", "main-api", "nginx-cache", "varnish")

STARTS = 11

START_TIMEOUT = 10.0


def measure(options: Options, stage: Stage, result: Result) -> None:
    for subject in result.figures:
        if ALL[subject].ours:
            for number in range(STARTS):
                ready, memory = start(stage, subject, stage.folder / f"{subject}-start-{number}")
                result.add(subject, ready_ms=ready, memory_start_bytes=memory)
            options.say(f"{subject}: {STARTS} starts, {result.median(subject, 'ready_ms'):.1f} ms")
    result.notes.append("Starts are those of the services on their built-in data, with the time that exec takes.")

    truth = ask(stage.start(ALL["aux-service"]).address, source.path(42), AUTHORIZATION)
    servers = [stage.start(ALL[subject]) for subject in result.figures]
    for server in servers:
        result.add(server.subject, memory_empty_bytes=server.process.resident_bytes())
    questions = Questions(source.path(42))
    for server in servers:
        # aux-service also contains the data of the source, which is no cached entry.
        own = 0.0
        if server.subject == "aux-service":
            own = server.process.resident_bytes() - (result.median(server.subject, "memory_start_bytes") or 0)
        warm(server)
        memory = server.process.resident_bytes()
        result.add(server.subject, memory_idle_bytes=memory, memory_cached_bytes=memory - own)
        expected = right_answer(questions, server, AUTHORIZATION, truth)
        arguments = (str(source.PARAMETERS), source.PATTERN)
        closed_loop(server, expected, questions.path, AUTHORIZATION, options.seconds, "zipf.lua", *arguments)
        memory = server.process.resident_bytes()
        result.add(server.subject, memory_bytes=memory, memory_loaded_bytes=memory - own)
        options.say(f"{server.subject}: {memory / 2**20:.1f} MiB with {source.PARAMETERS:,} parameters")
    result.notes.append(
        "aux-service holds all parameters twice here: in its cache, and in the embedded backend. Its targets are about "
        "the memory without the backend's copy: less what it held before anything was cached, but for what it holds on "
        "its built-in data."
    )


def start(stage: Stage, subject: str, folder: Path) -> tuple[float, float]:
    """Milliseconds from exec to the first 200 of /readyz, and the resident memory then, in bytes."""
    folder.mkdir()
    address = free_address()
    # main-api becomes ready also without aux-service.
    command = service(subject, address, folder)
    if subject == "aux-service":
        command += ["--backend", "embedded"]
    begin = time.monotonic()
    with Process(subject, command, stage.core, folder / "log") as process:
        while time.monotonic() - begin < START_TIMEOUT:
            try:
                if ask(address, "/readyz", {}).status == 200:
                    return (time.monotonic() - begin) * 1000, process.resident_bytes()
            except (OSError, http.client.HTTPException):
                process.check()
    raise Failed(f"{subject} was not ready after {START_TIMEOUT:.0f} s")

"""Several replicas of each way to read Parameter Store, which aws_calls.py and aws_outage.py compare."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path

import source
from fake_aws import FakeAws, value_of
from fleet import start_engine
from processes import Process
from stage import Server, Stage, free_address, wait_until_it_answers
from subjects import SUBJECTS

# A subject whose replicas need another program in each of them.
SOURCES = {"nginx-uncoalesced": "replica-uncached"}
SHARED = ("replica-shared", "replica-shared-300")


class Readers:
    """The replicas of one subject. A replica is a program, with the program behind it if it has one."""

    def __init__(self, stage: Stage, stack: ExitStack, subject: str, replicas: int, aws: FakeAws, speed: float) -> None:
        self.subject = subject
        self.folder = stage.folder / f"{subject}-{replicas}"
        self.core = stage.core
        self.aws, self.speed = aws.url, speed
        self.folder.mkdir(parents=True)
        self.engine = start_engine(stage, stack, self.folder) if subject in SHARED else ""
        self.addresses = [free_address() for _ in range(replicas)]
        self.starts = [0] * replicas
        self.running: list[ExitStack] = [stack.enter_context(ExitStack()) for _ in range(replicas)]
        for number in range(replicas):
            self.start(number)

    def start(self, number: int) -> None:
        """Starts a replica with empty folders."""
        self.starts[number] += 1
        folder = self.folder / f"{number}-{self.starts[number]}"
        own = Stage(folder, self.core, self.running[number], aws=self.aws, engine=self.engine, speed=self.speed)
        if behind := SOURCES.get(self.subject):
            own.servers["aux-service"] = run(own, behind, free_address())
        run(own, self.subject, self.addresses[number])

    def restart(self, number: int) -> None:
        """Ends a replica as Kubernetes does, and starts another one in its place."""
        self.running[number].close()
        self.start(number)


def run(stage: Stage, subject: str, address: str) -> Server:
    folder: Path = stage.folder / subject
    folder.mkdir(parents=True)
    process = Process(SUBJECTS[subject].title, SUBJECTS[subject].command(stage, address, folder), stage.core, stage.folder / f"{subject}.log")
    stage.stack.callback(process.end, signal.SIGTERM)
    wait_until_it_answers(process, address)
    return Server(subject, address, process)


def write_requests(file: Path, names: int, requests: int, text: Callable[[int], str] | None = None) -> Path:
    """Writes requests for open_loop: the n-th most wanted name has 1/n of the requests of the first. All runs get the same ones.
    A right response to a request contains the text of its number, or the value that FakeAws has."""
    weights = list(accumulate(1 / rank for rank in range(1, names + 1)))
    drawn: Sequence[int] = random.Random(1).choices(range(names), cum_weights=weights, k=requests)
    paths = [source.path(index) for index in range(names)]
    texts = [text(index) if text else text_of(paths[index]) for index in range(names)]
    file.write_text("".join(f"{paths[index]}\t{texts[index]}\n" for index in drawn))
    return file


def text_of(path: str) -> str:
    """The text that the body of a right response for the path contains."""
    return f'"{value_of(path.removeprefix("/param"))} '

"""The environment of a scenario: the programs that run in it, their folders and their addresses."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from http_client import Headers, ask
from processes import Failed, Process, elsewhere_seconds

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BINARIES = ROOT / "target/dist"

TOKEN = "a-token-that-only-this-measurement-knows"
AUTHORIZATION: Headers = {"Authorization": f"Bearer {TOKEN}"}

# A start with 10,000 parameters and the compilation of Varnish's configuration take seconds.
START_TIMEOUT = 30.0


@dataclass
class Server:
    """A running subject."""

    subject: str
    address: str
    process: Process


@dataclass
class Stage:
    """The environment of one scenario: its subjects run beside each other, in front of the same source."""

    folder: Path
    core: int
    stack: ExitStack
    # The fresh and the stale lifetime of responses of aux-service, the source of all others.
    ttl: str = "1h"
    stale: str = "1h"
    data: str = "parameters"
    # The URLs of AWS, of its queue of changes, and of the engine.
    aws: str = ""
    queue: str = ""
    engine: str = ""
    # The speed of time: lifetimes are divided by it, and quotas are multiplied.
    speed: float = 1
    # The connections of nginx, to clients and to the source.
    connections: int = 4096
    # The body size of the limits' response, which is the size of the source's.
    constant_bytes: int = 0
    servers: dict[str, Server] = field(default_factory=dict)

    @property
    def source(self) -> Server:
        return self.servers["aux-service"]

    def elsewhere(self) -> tuple[float, float]:
        """The start of an interval, for `disturbed`."""
        return elsewhere_seconds(server.process for server in self.servers.values()), time.monotonic()

    def disturbed(self, since: tuple[float, float]) -> float:
        """The share of a core that other programs used since `since`. Programs that have ended since then do not count, so the
        difference may be negative and is cut at 0."""
        seconds, now = self.elsewhere()
        return max(0.0, seconds - since[0]) / (now - since[1])

    def start(self, subject: Subject) -> Server:
        """Starts the subject, unless it runs already, and waits for its first response."""
        if subject.name not in self.servers:
            (self.folder / subject.name).mkdir(parents=True)
            address = free_address()
            command = subject.command(self, address, self.folder / subject.name)
            process = self.stack.enter_context(Process(subject.title, command, self.core, self.folder / f"{subject.name}.log"))
            wait_until_it_answers(process, address)
            self.servers[subject.name] = Server(subject.name, address, process)
        return self.servers[subject.name]


def started_by_its_scenario(_: Stage, __: str, ___: Path) -> list[str]:
    raise AssertionError("the scenario itself starts this subject")


@dataclass(frozen=True)
class Subject:
    name: str
    title: str
    command: Callable[[Stage, str, Path], list[str]] = started_by_its_scenario
    # True: each request must reach the source. False: no request may reach it once the cache is warm.
    asks_source: bool = False
    # True: the subject returns a constant, as an upper limit for the others.
    limit: bool = False
    ours: bool = False


def program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise Failed(f"{name} is needed; `make bench` installs it")
    return found


def fill(template: str, folder: Path, **values: str) -> Path:
    """Writes a template of configurations/ into the folder and replaces each @NAME@."""
    text = (HERE / "configurations" / template).read_text()
    written = folder / template
    written.write_text(re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], text))
    return written


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def wait_until_it_answers(process: Process, address: str) -> None:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        process.check()
        try:
            # Any response is enough; a proxy may return its own for /readyz.
            ask(address, "/readyz", AUTHORIZATION)
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
    raise Failed(f"{process.name} does not answer after {START_TIMEOUT:.0f} s; what it printed is in {process.log}")

"""What is compared: how each subject is started in front of a source, and what the source must see of its requests."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import source
from http_client import Headers, ask
from processes import Failed, Process, elsewhere_seconds

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BINARIES = ROOT / "target/dist"

TOKEN = "a-token-that-only-this-measurement-knows"
AUTHORIZATION: Headers = {"Authorization": f"Bearer {TOKEN}"}

# Starting 10,000 parameters takes a moment; compiling Varnish's configuration takes a compiler.
PATIENCE = 30.0


@dataclass
class Server:
    """A running subject."""

    subject: str
    address: str
    process: Process


@dataclass
class Stage:
    """Where the subjects of one scenario run, beside each other and in front of the same source."""

    folder: Path
    core: int
    stack: ExitStack
    # Of aux-service, which is the source of all others: for how long its answers are fresh, and may then be stale.
    ttl: str = "1h"
    stale: str = "1h"
    data: str = "parameters"
    # What the limits answer: as long as the source's answer.
    constant_bytes: int = 0
    servers: dict[str, Server] = field(default_factory=dict)

    @property
    def source(self) -> Server:
        return self.servers["aux-service"]

    def elsewhere(self) -> tuple[float, float]:
        """To be given to `disturbed` later."""
        return elsewhere_seconds(server.process for server in self.servers.values()), time.monotonic()

    def disturbed(self, since: tuple[float, float]) -> float:
        """The part of a core that others took meanwhile. Those that have ended meanwhile are not counted, which would make
        it less than nothing."""
        seconds, now = self.elsewhere()
        return max(0.0, seconds - since[0]) / (now - since[1])

    def start(self, subject: Subject) -> Server:
        """Starts it, unless it runs already, and waits until it answers."""
        if subject.name not in self.servers:
            (self.folder / subject.name).mkdir(parents=True)
            address = free_address()
            command = subject.command(self, address, self.folder / subject.name)
            process = self.stack.enter_context(Process(subject.title, command, self.core, self.folder / f"{subject.name}.log"))
            wait_until_it_answers(process, address)
            self.servers[subject.name] = Server(subject.name, address, process)
        return self.servers[subject.name]


@dataclass(frozen=True)
class Subject:
    name: str
    title: str
    command: Callable[[Stage, str, Path], list[str]]
    # Whether each request must reach the source. Otherwise none may, once the cache is warm.
    asks_source: bool = False
    # Whether it answers a constant, and so only shows what could be reached.
    limit: bool = False
    ours: bool = False


def aux_service(stage: Stage, address: str, folder: Path) -> list[str]:
    data = source.write(stage.folder, stage.data)
    return [
        *service("aux-service", address, folder),
        *("--backend", "embedded", "--embedded-file", str(data)),
        *("--cache-ttl", stage.ttl, "--cache-negative-ttl", stage.ttl, "--cache-ttl-jitter", "0"),
        *("--cache-stale-while-revalidate", stage.stale, "--cache-stale-if-error", stage.stale),
    ]


def main_api(stage: Stage, address: str, folder: Path) -> list[str]:
    command = service("main-api", address, folder)
    return [*command, "--aux-url", f"http://{stage.source.address}", "--aux-token-file", str(folder / "tokens")]


def main_api_pass(stage: Stage, address: str, folder: Path) -> list[str]:
    return [*main_api(stage, address, folder), "--cache", "off"]


def service(name: str, address: str, folder: Path) -> list[str]:
    """With everything on that is on by default, and tokens, which are not."""
    tokens = folder / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    return [str(BINARIES / name), "--listen-addr", address, "--auth-token-file", str(tokens)]


def nginx_cache(stage: Stage, address: str, folder: Path) -> list[str]:
    return nginx("nginx-cache", stage, address, folder, OPEN_FILES="")


def nginx_cache_tuned(stage: Stage, address: str, folder: Path) -> list[str]:
    # The fastest that was found: for a file of a kilobyte, sendfile is one more system call and no gain.
    transfer = "sendfile on;" if stage.data == "names" else "sendfile off;"
    open_files = "open_file_cache max=20000 inactive=1h;"
    return nginx("nginx-cache", stage, address, folder, OPEN_FILES=open_files, TRANSFER=transfer)


def nginx_pass(stage: Stage, address: str, folder: Path) -> list[str]:
    return nginx("nginx-pass", stage, address, folder)


def nginx_return(stage: Stage, address: str, folder: Path) -> list[str]:
    return nginx("nginx-return", stage, address, folder, BODY="x" * stage.constant_bytes)


def nginx(site: str, stage: Stage, address: str, folder: Path, **values: str) -> list[str]:
    # Started by root, its worker would be somebody who may not enter this folder.
    user = "user root;" if os.geteuid() == 0 else ""
    # As in Debian's configuration, and in most that are passed on.
    values = {"TRANSFER": "sendfile on; tcp_nopush on;", "LISTEN": address, "SOURCE": stage.source.address} | values
    written = fill(f"{site}.conf", folder, FOLDER=str(folder), **values)
    main = fill("nginx.conf", folder, FOLDER=str(folder), USER=user, SITE=str(written), TRANSFER=values["TRANSFER"])
    return [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(main)]


def varnish(stage: Stage, address: str, folder: Path) -> list[str]:
    host, port = stage.source.address.split(":")
    vcl = fill("varnish.vcl", folder, SOURCE_HOST=host, SOURCE_PORT=port)
    # Without a jail it needs no user of its own.
    return [program("varnishd"), "-F", "-j", "none", "-n", str(folder), "-a", address, "-s", "malloc,256m", "-f", str(vcl)]


def bare_hyper(stage: Stage, address: str, _: Path) -> list[str]:
    return [str(BINARIES / "bare"), "--listen-addr", address, "--body-bytes", str(stage.constant_bytes)]


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("aux-service", "aux-service", aux_service, ours=True),
        Subject("main-api", "main-api", main_api, ours=True),
        Subject("main-api-pass", "main-api, CACHE=off", main_api_pass, asks_source=True, ours=True),
        Subject("nginx-cache", "nginx cache", nginx_cache),
        Subject("nginx-cache-tuned", "nginx cache, tuned", nginx_cache_tuned),
        Subject("varnish", "Varnish", varnish),
        Subject("nginx-pass", "nginx proxy_pass", nginx_pass, asks_source=True),
        Subject("nginx-return", "nginx return 200 (limit)", nginx_return, limit=True),
        Subject("hyper", "bare hyper (limit)", bare_hyper, limit=True),
    )
}


def program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise Failed(f"{name} is needed; `make bench` installs it")
    return found


def fill(template: str, folder: Path, **values: str) -> Path:
    """Writes a template of peers/ into the folder, with each @NAME@ in it replaced."""
    text = (HERE / "peers" / template).read_text()
    written = folder / template
    written.write_text(re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], text))
    return written


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def wait_until_it_answers(process: Process, address: str) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        process.check()
        try:
            # Whatever it says: /readyz of the services is not in the way of a proxy's own answers.
            ask(address, "/readyz", AUTHORIZATION)
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
    raise Failed(f"{process.name} does not answer after {PATIENCE:.0f} s; what it printed is in {process.log}")

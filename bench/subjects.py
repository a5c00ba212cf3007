"""The compared programs: the start of each subject in front of a source, and the expected requests to the source."""

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

# The limit of waiting requests; the default is 4096.
MAX_WAITING = "20000"

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


@dataclass(frozen=True)
class Subject:
    name: str
    title: str
    command: Callable[[Stage, str, Path], list[str]]
    # True: each request must reach the source. False: no request may reach it once the cache is warm.
    asks_source: bool = False
    # True: the subject returns a constant, as an upper limit for the others.
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


def reader_of_aws(stage: Stage, address: str, folder: Path) -> list[str]:
    aws = {"AWS_ENDPOINT_URL": stage.aws, "AWS_REGION": "eu-west-2", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}
    return ["env", *(f"{name}={value}" for name, value in aws.items()), *service("aux-service", address, folder)]


def fleet_alone(stage: Stage, address: str, folder: Path) -> list[str]:
    """A replica without a limit of its calls, so that they show its demand."""
    return [
        *reader_of_aws(stage, address, folder),
        *("--aws-rate-get", "0", "--shared-aws-rate-get", "0"),
        *("--cache-ttl", stage.ttl, "--cache-stale-while-revalidate", stage.stale),
    ]


def fleet_shared(stage: Stage, address: str, folder: Path) -> list[str]:
    return [*fleet_alone(stage, address, folder), "--shared-cache-url", stage.engine]


def waiting_aux(stage: Stage, address: str, folder: Path) -> list[str]:
    # The names are read faster than AWS's quota allows.
    unlimited = ["--aws-rate-get", "0"]
    return [*reader_of_aws(stage, address, folder), *unlimited, "--change-queue-url", stage.queue, "--max-waiting", MAX_WAITING]


def waiting_main(stage: Stage, address: str, folder: Path) -> list[str]:
    return [*main_api_of(stage.servers["waiting-aux"], address, folder), "--max-waiting", MAX_WAITING]


def main_api(stage: Stage, address: str, folder: Path) -> list[str]:
    return main_api_of(stage.source, address, folder)


def main_api_of(source: Server, address: str, folder: Path) -> list[str]:
    command = service("main-api", address, folder)
    return [*command, "--aux-url", f"http://{source.address}", "--aux-token-file", str(folder / "tokens")]


def main_api_pass(stage: Stage, address: str, folder: Path) -> list[str]:
    return [*main_api(stage, address, folder), "--cache", "off"]


def service(name: str, address: str, folder: Path) -> list[str]:
    """A service with its default settings, and with tokens in addition."""
    tokens = folder / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    return [str(BINARIES / name), "--listen-addr", address, "--auth-token-file", str(tokens)]


def nginx_cache(stage: Stage, address: str, folder: Path) -> list[str]:
    return nginx("nginx-cache", stage, address, folder, OPEN_FILES="")


def nginx_cache_tuned(stage: Stage, address: str, folder: Path) -> list[str]:
    # The fastest setting: for a file of a kilobyte, sendfile costs one more system call.
    transfer = "sendfile on;" if stage.data == "names" else "sendfile off;"
    open_files = "open_file_cache max=20000 inactive=1h;"
    return nginx("nginx-cache", stage, address, folder, OPEN_FILES=open_files, TRANSFER=transfer)


def nginx_pass(stage: Stage, address: str, folder: Path) -> list[str]:
    return nginx("nginx-pass", stage, address, folder)


def nginx_return(stage: Stage, address: str, folder: Path) -> list[str]:
    return nginx("nginx-return", stage, address, folder, BODY="x" * stage.constant_bytes)


def nginx(site: str, stage: Stage, address: str, folder: Path, **values: str) -> list[str]:
    # nginx of root would start its worker as a user without access to this folder.
    user = "user root;" if os.geteuid() == 0 else ""
    # These settings are Debian's, and common elsewhere.
    values = {"TRANSFER": "sendfile on; tcp_nopush on;", "LISTEN": address, "SOURCE": stage.source.address} | values
    written = fill(f"{site}.conf", folder, FOLDER=str(folder), **values)
    main = fill(
        "nginx.conf", folder, FOLDER=str(folder), USER=user, SITE=str(written), TRANSFER=values["TRANSFER"], CONNECTIONS=str(stage.connections)
    )
    return [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(main)]


def varnish(stage: Stage, address: str, folder: Path) -> list[str]:
    host, port = stage.source.address.split(":")
    vcl = fill("varnish.vcl", folder, SOURCE_HOST=host, SOURCE_PORT=port)
    # Without a jail, varnishd needs no user of its own.
    return [program("varnishd"), "-F", "-j", "none", "-n", str(folder), "-a", address, "-s", "malloc,256m", "-f", str(vcl)]


def bare_hyper(stage: Stage, address: str, _: Path) -> list[str]:
    return [str(BINARIES / "bare"), "--listen-addr", address, "--body-bytes", str(stage.constant_bytes)]


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("aux-service", "aux-service", aux_service, ours=True),
        Subject("main-api", "main-api", main_api, ours=True),
        Subject("main-api-pass", "main-api, CACHE=off", main_api_pass, asks_source=True, ours=True),
        Subject("fleet-alone", "replicas on their own", fleet_alone, ours=True),
        Subject("fleet-shared", "replicas with a shared cache", fleet_shared, ours=True),
        Subject("waiting-aux", "aux-service, requests wait", waiting_aux, ours=True),
        Subject("waiting-main", "main-api, requests wait", waiting_main, ours=True),
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
    """Writes a template of peers/ into the folder and replaces each @NAME@."""
    text = (HERE / "peers" / template).read_text()
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

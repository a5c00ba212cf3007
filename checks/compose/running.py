"""Runs the programs of compose.yaml with its variables, commands, health checks and files, in a network of its own.

Each container is a process with an address of its own. Two things differ from Docker: the images of other projects are the programs
that this machine has, and each service gets LISTEN_ADDR, because processes share one network. With --docker the containers of
`docker compose up` are tested instead.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sandbox
from model import ROOT, SERVICES, aliases, program, published
from outcome import told
from programs import LIBRARIES, SDK, binary, documented

ADDRESSES = {name: f"127.0.2.{number}" for number, name in enumerate(SERVICES, 1)}
# The value of a time such as 20s, the only form in compose.yaml.
SECONDS = {name: int(service["stop_grace_period"].removesuffix("s")) for name, service in SERVICES.items() if program(service)}
PARAMETER = "/challenge/kantox"


def unknown_variables() -> list[str]:
    problems = []
    for name, service in SERVICES.items():
        if built := program(service):
            known = documented(built).keys() | SDK | LIBRARIES
            problems += [f"{name}: {built} does not know {variable}" for variable in service["environment"].keys() - known]
    return problems


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, Any, Any]:
    """Status, headers and JSON of a response. A 304 has no content."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=40) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read() or b"{}")


def text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        content: bytes = answer.read()
    return content.decode()


def until(true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds:g} s: {what}")
        time.sleep(0.2)


def responses(url: Callable[[str], str], change: Callable[[str, str], object]) -> list[str]:
    """The services serve the seeded bucket and parameters, share the engine, and learn of a change."""
    main = url("main-api")
    replicas = [name for name, service in SERVICES.items() if program(service) == "aux-service"]
    for name in ["main-api", *replicas]:
        until(lambda name=name: get(f"{url(name)}/readyz")[0] == 200, f"{name} is ready")  # type: ignore[misc]
    problems = []
    for path, member, expected in (
        ("/buckets", "buckets", ["kantox-challenge-bucket"]),
        ("/params", "parameters", ["/challenge/kantox", "/challenge/password", "/challenge/regions"]),
        (f"/param{PARAMETER}", "value", "cloud-engineer"),
        ("/param/challenge/password", "code", "secure-string-not-allowed"),
    ):
        _, _, body = get(main + path)
        value = sorted(body.get(member) or []) if isinstance(expected, list) else body.get(member)
        if value != expected:
            problems.append(f"{path}: {member} is {value}, expected {expected}")
    for name in replicas:
        state = get(f"{url(name)}/readyz")[2]["dependencies"].get("shared_cache")
        if state != "ok":
            problems.append(f"{name}: /readyz reports the shared cache as {state}")
    # Each replica refreshes the warmed entries, and finds those in the engine that the other one has loaded.
    shared = re.compile(r'^shared_cache_requests_total\{(?=[^}]*operation="lookup")(?=[^}]*outcome="hit")[^}]*\} [1-9]', re.M)
    until(lambda: any(shared.search(text(f"{url(name)}/metrics")) for name in replicas), "a replica finds an entry in the engine")
    if problems:
        return problems
    _, headers, _ = get(f"{main}/param{PARAMETER}")
    change(PARAMETER, "changed")
    status, _, body = get(f"{main}/param{PARAMETER}", {"if-none-match": headers["etag"], "prefer": "wait=30"})
    if (status, body.get("value")) != (200, "changed"):
        problems.append(f"a request that waits for a change gets {status} {body}")
    return problems


def scraping(url: str) -> list[str]:
    """Prometheus reaches every container of both services, with the labels of the dashboards, and evaluates each rule."""

    def query(expression: str) -> list[Any]:
        found: list[Any] = get(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")[2]["data"]["result"]
        return found

    wanted = {name for name, service in SERVICES.items() if program(service)}
    labelled = 'up{job=~"aux-service|main-api", namespace="compose"} == 1'
    until(lambda: {one["metric"].get("pod") for one in query(labelled)} == wanted, f"Prometheus scrapes {sorted(wanted)}")
    until(lambda: bool(query('axum_http_requests_total{endpoint="/param/{name}"}')), "a scraped series has the route as its endpoint")
    groups = get(f"{url}/api/v1/rules")[2]["data"]["groups"]
    until(
        lambda: all(rule["health"] == "ok" for group in get(f"{url}/api/v1/rules")[2]["data"]["groups"] for rule in group["rules"]),
        "Prometheus evaluates every rule",
    )
    alerts = [rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"]
    return [] if alerts else ["Prometheus has no alerts"]


class Stack:
    """The programs of compose.yaml as processes of this machine."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, name: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"]} | {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}

    def start(self, name: str, command: list[str], extra: dict[str, str] | None = None) -> None:
        log = self.folder / f"{name}.log"
        env = self.environment(name) | (extra or {})
        self.processes[name] = self.stack.enter_context(sandbox.running(command, log, env))
        port = (published(SERVICES[name]) or [("", 0, 6379)])[0][2]
        sandbox.wait_for_port(port, self.processes[name], address=ADDRESSES[name])
        if check := SERVICES[name].get("healthcheck"):
            # In the container the program's own address is 127.0.0.1, the default of redis-cli too.
            programs = {"python": [sys.executable], "valkey-cli": ["redis-cli", "-h", ADDRESSES[name]], "wget": ["wget"]}
            first, *rest = [part.replace("127.0.0.1", ADDRESSES[name]) for part in check["test"][1:]]
            healthy = [*programs[first], *rest]
            until(lambda: not subprocess.run(healthy, capture_output=True, check=False).returncode, f"{name} is healthy")

    def seed(self, *arguments: str) -> None:
        script = SERVICES["seed"]["entrypoint"][1]
        subprocess.run([sys.executable, f"{ROOT}/compose{script}", *arguments], env=self.environment("seed"), check=True)

    def run(self) -> None:
        moto, valkey = ADDRESSES["moto"], ADDRESSES["valkey"]
        self.start("moto", [os.environ["MOTO_SERVER"], "-H", moto, "-p", "5000"])
        self.seed()
        _, *options = SERVICES["valkey"]["command"]
        self.start("valkey", ["redis-server", "--bind", valkey, "--dir", str(self.folder), *options])
        for name, service in SERVICES.items():
            if built := program(service):
                port = published(service)[0][2]
                self.start(name, [str(binary(built))], {"LISTEN_ADDR": f"{ADDRESSES[name]}:{port}"})
        places = {"/etc/prometheus/": f"{ROOT}/compose/", "=/prometheus": f"={self.folder}/prometheus"}
        command = ["prometheus", f"--web.listen-address={ADDRESSES['prometheus']}:9090"]
        for argument in SERVICES["prometheus"]["command"]:
            for inside, outside in places.items():
                argument = argument.replace(inside, outside)
            command.append(argument)
        self.start("prometheus", command)

    def seeds_once(self) -> list[str]:
        """A second `docker compose up` runs the seed again. The value that a user has set stays."""
        self.seed(PARAMETER, "of a user")
        self.seed()
        value = sandbox.parameter(SERVICES["seed"]["environment"]["AWS_ENDPOINT_URL"], PARAMETER)
        return [] if value == "of a user" else [f"a second run of the seed sets {PARAMETER} to {value}"]

    def stops(self) -> list[str]:
        """Both services end within the time that compose.yaml gives them."""
        problems = []
        for name in SECONDS:
            self.processes[name].send_signal(signal.SIGTERM)
        for name, seconds in SECONDS.items():
            try:
                if status := self.processes[name].wait(seconds):
                    problems.append(f"{name} exits with status {status} after SIGTERM")
            except subprocess.TimeoutExpired:
                problems.append(f"{name} has not ended {seconds} s after SIGTERM")
        return problems


def in_a_sandbox() -> list[str]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as exits:
        sandbox.loopback_up()
        sandbox.host_table(Path(folder), [], [(ADDRESSES[name], alias) for name in SERVICES for alias in aliases(name)])
        stack = Stack(Path(folder), exits)

        def url(name: str) -> str:
            return f"http://{name}:{published(SERVICES[name])[0][2]}"

        try:
            stack.run()
            problems = responses(url, stack.seed)
            problems += scraping(url("prometheus")) + stack.seeds_once() + stack.stops()
        except (RuntimeError, OSError) as error:
            problems = [str(error)]
        if problems:
            for log in sorted(Path(folder).glob("*.log")):
                problems.append(f"{log.name} ends: {log.read_text()[-400:]}")
    return problems


def in_docker() -> list[str]:
    def change(name: str, value: str) -> None:
        subprocess.run(["docker", "compose", "run", "--rm", "seed", name, value], cwd=ROOT, check=True)

    def url(name: str) -> str:
        return f"http://127.0.0.1:{published(SERVICES[name])[0][1]}"

    try:
        problems = responses(url, change) + scraping(url("prometheus"))
        until(lambda: get(f"{url('grafana')}/api/health")[0] == 200, "Grafana responds")
        found = get(f"{url('grafana')}/api/search?type=dash-db")[2]
        dashboards = {path.stem for path in (ROOT / "grafana/dashboards").glob("*.json")}
        if {one["uid"] for one in found} != dashboards:
            problems.append(f"Grafana has the dashboards {found}, expected {sorted(dashboards)}")
    except (RuntimeError, OSError) as error:
        problems = [str(error)]
    return problems


def main() -> int:
    docker = sys.argv[1:] == ["--docker"]
    problems = unknown_variables() if not docker else []
    problems = problems or (in_docker() if docker else in_a_sandbox())
    return told("The programs know their variables, start, share the engine, and are scraped", problems)


if __name__ == "__main__":
    sys.exit(main())

"""README.md's console sessions: each command is run against the services of `make run`, and its output is compared."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from rendering import ROOT

README = ROOT / "README.md"
TEXT = README.read_text()
MAIN_API = "http://127.0.0.1:30002"

# Commands that other checks run: with the file that runs them.
RUN_ELSEWHERE = {
    "make test": ".ci/run",
    "make check": ".ci/run",
    "docker compose run --rm seed /challenge/kantox changed": "checks/compose/running.py",
}
# The time in which a command has to end. make run and make demo may have to build first.
LIMIT, BUILD_LIMIT = 60, 1800


def sessions() -> list[tuple[str, list[str]]]:
    """The commands of all console sessions, each with the lines of its output."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            else:
                found[-1][1].append(line)
    return found


@contextmanager
def services() -> Iterator[None]:
    """The services of make run, as a reader starts them."""
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(["make", "run"], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            end = time.monotonic() + BUILD_LIMIT
            while "Both services are ready" not in (output := Path(log.name).read_text()):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"make run does not start the services: {output[-800:]}")
                time.sleep(0.2)
            yield
        finally:
            # Ctrl-C reaches every process of the terminal.
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)


def differences(commands: list[tuple[str, list[str]]]) -> Iterator[str]:
    """Runs commands in one shell, and reports each whose output is not the README's."""
    mark = "-- the next command --"
    script = "set -u\n" + "".join(f"{command}\necho {shlex.quote(mark)} $? | tee /dev/stderr\n" for command, _ in commands)
    ran = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
    ended = re.compile(rf"(.*?){mark} (\d+)\n", re.DOTALL)
    results = list(zip(ended.findall(ran.stdout), ended.findall(ran.stderr), strict=True))
    if len(results) != len(commands):
        yield f"README.md: {len(results)} of {len(commands)} commands ran: {ran.stderr[-300:]}"
    for (command, expected), ((output, status), (errors, _)) in zip(commands, results, strict=False):
        if status != "0":
            yield f"README.md: {command}: exit status {status}: {errors[-300:]}"
        elif not matches(expected, output.splitlines()):
            yield f"README.md: {command}: the output is {output.strip()!r}"


def matches(expected: list[str], output: list[str]) -> bool:
    """Whether an output is the expected one, in which … stands for any text."""
    pattern = "\n".join(".*".join(map(re.escape, line.split("…"))) for line in expected)
    return not expected or re.fullmatch(pattern, "\n".join(output)) is not None


def init_container() -> Iterator[str]:
    """The init container's command writes the file."""
    block = next(block for block in re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL) if "initContainers" in block)
    container = yaml.safe_load(block)["initContainers"][0]
    [mount] = container["volumeMounts"]
    with tempfile.TemporaryDirectory() as folder:
        arguments = [part.replace("http://main-api.main-api:6000", MAIN_API).replace(mount["mountPath"], folder) for part in container["command"]]
        subprocess.run(arguments, timeout=LIMIT, check=False)
        files = [json.loads(path.read_text()) for path in Path(folder).iterdir()]
    if len(files) != 1 or "values" not in files[0]:
        yield f"README.md: the init container writes {files}"


def problems() -> list[str]:
    found: list[str] = []
    commands = []
    for command, output in sessions():
        if command in RUN_ELSEWHERE:
            runner = ROOT / RUN_ELSEWHERE[command]
            # A program in Python has the words of a command as a list.
            words = ", ".join(f'"{word}"' for word in command.split()[:5])
            if not re.search(rf"^{command}$|{words}", runner.read_text(), re.MULTILINE):
                found.append(f"README.md: {command}: {RUN_ELSEWHERE[command]} does not run it")
        elif command == "make run":
            # The commands below need its services.
            continue
        elif command == "make demo":
            # `make test` runs the demonstration itself, in its short form (tests/cases/demo.rs).
            ran = subprocess.run([*command.split(), "ARGS=--help"], cwd=ROOT, capture_output=True, text=True, timeout=BUILD_LIMIT, check=False)
            if ran.returncode or "Usage: demo" not in ran.stdout:
                found.append(f"README.md: {command}: {ran.stdout[-300:]}{ran.stderr[-300:]}")
        else:
            commands.append((command, output))
    with services():
        found += [*differences(commands), *init_container()]
    return found

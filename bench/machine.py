"""The machine and the programs of a measurement."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from pathlib import Path

from peers import BOTO3_PYTHON, MOTO, NODE_MODULES
from processes import Failed
from stage import BINARIES, ROOT, program


def cores() -> tuple[int, int]:
    """The core of the subjects and the core of the generators."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise Failed("two cores are needed, one for what is measured and one for the load")
    return allowed[0], allowed[1]


def check_programs() -> None:
    for name in ("wrk", "nginx", "varnishd", "redis-server", "taskset", "node"):
        program(name)
    for file in (BOTO3_PYTHON, MOTO, NODE_MODULES):
        if not file.exists():
            raise Failed(f"{file} is missing; `make bench` installs it")
    for name in ("aux-service", "main-api", "bare", "followers", "open_loop"):
        if not (BINARIES / name).exists():
            raise Failed(f"{BINARIES / name} is missing; `make bench` builds it")


def circumstances() -> dict[str, str]:
    processor = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    revision = said("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    if said("git", "-C", str(ROOT), "status", "--porcelain", "Cargo.lock", "Cargo.toml", "aux", "gateway", "shared"):
        revision += " and changes that are not committed"
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "revision": revision,
        "processor": f"{processor[1] if processor else platform.machine()}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "nginx": version(said("nginx", "-v")),
        "varnish": version(said("varnishd", "-V")),
        "redis": version(said("redis-server", "--version")),
        "wrk": version(said("wrk", "-v")),
        "boto3": said(str(BOTO3_PYTHON), "-c", "import boto3; print(boto3.__version__)"),
        "moto": said(str(MOTO.parent / "python"), "-c", "import moto; print(moto.__version__)"),
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }


def said(*command: str) -> str:
    """The command's output of both streams: wrk and nginx print their versions on standard error."""
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout.strip()


def version(text: str) -> str:
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else text

"""The measured programs: they start on one core, /proc shows their use of it, and they end with all of their children."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Python 3.10, with which the checks run, has no such name.
    from typing import Self

TICK = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Failed(Exception):
    """The reason for a missing report, as a sentence for the user."""


class Process:
    """A program in a session of its own, by which its children are found. `log` contains its output."""

    def __init__(self, name: str, command: list[str], core: int, log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            # The caller's environment must not configure the program.
            self.popen = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"]},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def end(self, how: signal.Signals) -> None:
        """Ends the program and its children, and waits for their end."""
        members = self._members()
        if self.popen.poll() is None:
            self.popen.send_signal(how)
            try:
                self.popen.wait(5)
            except subprocess.TimeoutExpired:
                pass
        # Children that did not end with their parent.
        for pid in {*members, *self._members()}:
            if _session(pid) == self.popen.pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.popen.wait()

    def check(self) -> None:
        """Raises if the program has ended by itself."""
        if self.popen.poll() is not None:
            last = "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
            raise Failed(f"{self.name} ended with status {self.popen.returncode}; the end of {self.log}:\n{last}")

    def cpu_seconds(self) -> float:
        """CPU time of all its processes and threads so far, in user space and in the kernel."""
        ticks = 0
        for pid in self._members():
            fields = _stat(pid)
            ticks += int(fields[11]) + int(fields[12]) if fields else 0
        return ticks / TICK

    def resident_bytes(self) -> int:
        """Memory. Shared pages (files and shared memory) count once, with the value of the largest process."""
        own, shared = 0, 0
        for pid in self._members():
            status = dict(line.split(":", 1) for line in (PROC / str(pid) / "status").read_text().splitlines())
            kib = {key: int(status[key].split()[0]) for key in ("RssAnon", "RssFile", "RssShmem")}
            own += kib["RssAnon"]
            shared = max(shared, kib["RssFile"] + kib["RssShmem"])
        return (own + shared) * 1024

    def _members(self) -> list[int]:
        pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
        return [pid for pid in pids if _session(pid) == self.popen.pid]


def elsewhere_seconds(processes: Iterable[Process]) -> float:
    """CPU time of all running processes that are neither these nor of this program's session, with the hypervisor's steal time.
    The sum uses the processes' counters, which have nanoseconds, and not the cores', which have ticks."""
    steal = int((PROC / "stat").read_text().split()[8])
    ours = {process.popen.pid for process in processes} | {os.getsid(0)}
    ticks = steal
    for entry in PROC.iterdir():
        fields = _stat(int(entry.name)) if entry.name.isdigit() else []
        if fields and int(fields[3]) not in ours:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def _stat(pid: int) -> list[str]:
    """The fields after the name, from the third of `man proc_pid_stat` on; empty for an ended process or a zombie."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if fields[0] == "Z" else fields


def _session(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[3]) if fields else None

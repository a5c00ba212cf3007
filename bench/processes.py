"""Programs that are measured: started on one core, watched through /proc, and ended with everything they started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Self

TICK = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Failed(Exception):
    """Why there is nothing to report, in a sentence for the person who ran it."""


class Process:
    """A program in a session of its own, by which all that it starts is found. `log` is what it prints."""

    def __init__(self, name: str, command: list[str], core: int, log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            # Nothing of the caller's environment may configure it.
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
        """Ends it and all that it has started, and waits until they are gone."""
        members = self._members()
        if self.popen.poll() is None:
            self.popen.send_signal(how)
            try:
                self.popen.wait(5)
            except subprocess.TimeoutExpired:
                pass
        # Those that have not followed their parent.
        for pid in {*members, *self._members()}:
            if _session(pid) == self.popen.pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.popen.wait()

    def check(self) -> None:
        """Raises if it has ended by itself."""
        if self.popen.poll() is not None:
            last = "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
            raise Failed(f"{self.name} ended with status {self.popen.returncode}; the end of {self.log}:\n{last}")

    def cpu_seconds(self) -> float:
        """Time on a core, in user space and in the kernel, of all its processes and their threads so far."""
        ticks = 0
        for pid in self._members():
            fields = _stat(pid)
            ticks += int(fields[11]) + int(fields[12]) if fields else 0
        return ticks / TICK

    def resident_bytes(self) -> int:
        """Memory. What its processes share (files and shared memory) counts once: as much as the largest of them has."""
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
    """Time that went to processes that are neither these nor of this program's session, and that are still there; what a
    hypervisor took is in it. Not what the cores say of themselves: they count in ticks, and a process in nanoseconds."""
    steal = int((PROC / "stat").read_text().split()[8])
    ours = {process.popen.pid for process in processes} | {os.getsid(0)}
    ticks = steal
    for entry in PROC.iterdir():
        fields = _stat(int(entry.name)) if entry.name.isdigit() else []
        if fields and int(fields[3]) not in ours:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def _stat(pid: int) -> list[str]:
    """The fields after the name, from the third of `man proc_pid_stat` on; none if it is gone or a zombie."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if fields[0] == "Z" else fields


def _session(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[3]) if fields else None

#!/usr/bin/env python3
"""Measures points of the services' policy with which `bench/simulate.sh --validate` compares its simulation.

The services run in front of a stand-in for AWS, with short lifetimes, under reads at random times of names with Zipf's law.
The figures are counts of calls and of outcomes, so a busy machine changes them little. A run takes eight minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import itertools
import json
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import services
import source
from fake_aws import FakeAws
from fleet import start_engine
from http_client import ask, ask_all
from machine import cores, said
from processes import Failed, Process
from stage import AUTHORIZATION, HERE, ROOT, Stage, free_address, wait_until_it_answers

FILE = HERE / "measured.json"

# The connections of the load. Each reads the next name when its last response has come.
CONNECTIONS = 24

# A count below this is no figure of a point.
LEAST = 100


@dataclass(frozen=True)
class Load:
    """Reads at random times: how many a second, of how many names, and the exponent of Zipf's law."""

    rate: float
    keys: int
    zipf: float = 1.0

    def schedule(self, seconds: float) -> Iterator[tuple[float, int]]:
        """The time of each read since the start, and the number of its name."""
        chance = random.Random(1)
        cumulative = list(itertools.accumulate(rank**-self.zipf for rank in range(1, self.keys + 1)))
        now = chance.expovariate(self.rate)
        while now < seconds:
            yield now, min(bisect.bisect(cumulative, chance.random() * cumulative[-1]), self.keys - 1)
            now += chance.expovariate(self.rate)

    def flags(self) -> str:
        # So many pods that each connection carries one read at a time.
        return f"--pods 6000 --reads-per-minute {self.rate / 100:g} --keys {self.keys} --zipf {self.zipf:g}"


@dataclass(frozen=True)
class Setup:
    """The services, and their settings that differ from the defaults."""

    aux: int
    main: int = 0
    shared: bool = False
    ttl: float = 5
    stale: float = 5
    # Without a limit the calls show the demand.
    rate: float = 0

    def flags(self) -> str:
        flags = f"--aux-replicas {self.aux} --main-replicas {self.main} --ttl {self.ttl:g} --stale-while-revalidate {self.stale:g}"
        return f"{flags} --rate {self.rate:g} --aws-quota 0{' --shared' if self.shared else ''}"


class Fleet:
    """Running services in front of a stand-in for AWS."""

    def __init__(self, setup: Setup, stack: ExitStack, folder: Path) -> None:
        self.aws = stack.enter_context(FakeAws())
        stage = Stage(folder, cores()[0], stack, aws=self.aws.url)
        if setup.shared:
            stage.engine = start_engine(stage, stack, folder)
        self.aux = [self._start_aux(setup, stage, folder / f"aux-{number}") for number in range(setup.aux)]
        self.mains: list[str] = []
        if setup.main:
            url = f"http://{stack.enter_context(balancer(self.aux))}"
            self.mains = [self._start_main(url, stage, folder / f"main-{number}") for number in range(setup.main)]

    @property
    def front(self) -> list[str]:
        return self.mains or self.aux

    def _start_aux(self, setup: Setup, stage: Stage, folder: Path) -> str:
        folder.mkdir()
        address = free_address()
        command = [*services.reader_of_aws(stage, address, folder), "--cache-ttl", f"{setup.ttl:g}s"]
        command += ["--cache-stale-while-revalidate", f"{setup.stale:g}s"]
        command += ["--aws-rate-get", f"{setup.rate:g}", "--shared-aws-rate-get", f"{setup.rate:g}"]
        if stage.engine:
            command += ["--shared-cache-url", stage.engine]
        return self._start("aux-service", command, address, stage, folder)

    def _start_main(self, aux: str, stage: Stage, folder: Path) -> str:
        folder.mkdir()
        address = free_address()
        command = [*services.service("main-api", address, folder), "--aux-url", aux, "--aux-token-file", str(folder / "tokens")]
        return self._start("main-api", command, address, stage, folder)

    @staticmethod
    def _start(name: str, command: list[str], address: str, stage: Stage, folder: Path) -> str:
        process = stage.stack.enter_context(Process(name, command, stage.core, folder / "log"))
        wait_until_it_answers(process, address)
        return address

    def break_aws(self) -> None:
        """From now on AWS refuses each connection."""
        self.aws.refuse()

    def counts(self) -> Counter[str]:
        """All counts so far, by the names that the simulation gives them."""
        counts: Counter[str] = Counter({"names": self.aws.reads})
        for address in self.aux:
            for name, labels, value in metrics(address):
                if name == "cache_requests_total":
                    counts[f"aux {labels['outcome']}"] += int(value)
                elif name == "aws_requests_total" and labels["operation"].startswith("GetParameter"):
                    counts[{"shielded": "refused", "ok": "calls"}.get(labels["outcome"], "failed calls")] += int(value)
                elif name == "shared_cache_requests_total" and labels["outcome"] in ("timeout", "error", "skipped"):
                    counts["engine failures"] += int(value)
                elif name in ("aws_request_duration_seconds_sum", "aws_request_duration_seconds_count") and labels["outcome"] != "shielded":
                    counts[name] += float(value)
        for address in self.front:
            for name, labels, value in metrics(address):
                if name == "cache_requests_total":
                    counts[f"share {labels['outcome']}"] += int(value)
        counts["calls"] += counts["failed calls"]
        return counts


def metrics(address: str) -> Iterator[tuple[str, dict[str, str], str]]:
    text = ask(address, "/metrics", AUTHORIZATION).body.decode()
    for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE):
        yield name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), value


@contextmanager
def balancer(addresses: list[str]) -> Iterator[str]:
    """Passes each connection on to a random one of these addresses, as a Service of Kubernetes does."""
    loop, chance = asyncio.new_event_loop(), random.Random(1)

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = chance.choice(addresses).split(":")
        behind, to_behind = await asyncio.open_connection(host, int(port))
        await asyncio.gather(copy(reader, to_behind), copy(behind, writer))

    async def end() -> None:
        passing = asyncio.all_tasks() - {asyncio.current_task()}
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)

    server = loop.run_until_complete(asyncio.start_server(accept, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(end())
    loop.close()


class Reader:
    """Sends the reads of a load to random replicas, and remembers the last old response of each changed name."""

    def __init__(self, fleet: Fleet, load: Load, seconds: float) -> None:
        self._schedule = load.schedule(seconds)
        self._lock = threading.Lock()
        self._addresses = fleet.front
        self.begin = time.monotonic() + 0.1
        self.changed_at = float("inf")
        self.last_old: dict[int, float] = {}
        self.late = 0.0
        self.failures: list[Exception] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CONNECTIONS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        if self.failures:
            raise self.failures[0]
        if self.late > 1:
            raise Failed(f"a read was sent {self.late:.1f} s late; the machine is too busy")

    def _run(self, number: int) -> None:
        chance, names = random.Random(number), [""]
        connections = [ask_all(address, next_of(names), AUTHORIZATION) for address in self._addresses]
        try:
            while True:
                with self._lock:
                    due, key = next(self._schedule, (None, 0))
                if due is None:
                    return
                wait = self.begin + due - time.monotonic()
                time.sleep(max(0.0, wait))
                self.late = max(self.late, -wait)
                names[0] = source.path(key)
                answer = next(connections[chance.randrange(len(connections))])
                # No cache may have the name while the quota shield refuses calls or AWS fails.
                if answer.status not in (200, 502, 503):
                    raise Failed(f"{names[0]} answered {answer.status}")
                # The stand-in for AWS begins each value with the number of its changes.
                if time.monotonic() > self.changed_at and b'"00000 ' in answer.body:
                    self.last_old[key] = max(time.monotonic() - self.changed_at, self.last_old.get(key, 0))
        except Exception as failure:  # noqa: BLE001
            self.failures.append(failure)


def next_of(names: list[str]) -> Iterator[str]:
    """The current first element, again and again."""
    while True:
        yield names[0]


def wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def zipf(name: str, setup: Setup, load: Load, seconds: float, figures: tuple[str, ...], first: float | None = None) -> list[dict[str, Any]]:
    """The first lifetime after the start of all caches, or this time, and the time after it."""
    first = first or setup.ttl
    with running(setup) as fleet:
        reader = Reader(fleet, load, first + seconds)
        before = fleet.counts()
        wait_until(reader.begin + first)
        middle = fleet.counts()
        reader.join()
        after = fleet.counts()
    flags = f"{setup.flags()} {load.flags()}"
    windows = ((f"first {first:g} s", 0.0, first, middle - before), ("steady", first, seconds, after - middle))
    return [
        point(
            f"{name}: {title}", f"{flags} --aws-latency {mean_latency(counts):.4f} --warm-up {start:g} --seconds {length:g}", counts, figures
        )
        for title, start, length, counts in windows
    ]


def outage(name: str, setup: Setup, load: Load, warm_up: float, seconds: float) -> list[dict[str, Any]]:
    """AWS is gone after the warm-up."""
    with running(setup) as fleet:
        reader = Reader(fleet, load, warm_up + seconds)
        wait_until(reader.begin + warm_up)
        before = fleet.counts()
        fleet.break_aws()
        reader.join()
        after = fleet.counts()
    during = after - before
    flags = f"{setup.flags()} {load.flags()} --aws-latency {mean_latency(before):.4f} --outage-latency {mean_latency(during):.4f}"
    flags += f" --outage-at {warm_up:g} --warm-up {warm_up:g} --seconds {seconds:g}"
    # With main-api, the requests that reach aux-service are the question.
    figures = ("aux stale_error", "share miss") if setup.main else ("share stale", "share stale_error")
    return [point(name, flags, during, ("calls", "share hit", *figures))]


def change(name: str, setup: Setup, load: Load, changed: int, warm_up: float, seconds: float) -> list[dict[str, Any]]:
    """The most wanted names change, and no event tells of it."""
    with running(setup) as fleet:
        reader = Reader(fleet, load, warm_up + seconds)
        wait_until(reader.begin + warm_up)
        for key in range(changed):
            fleet.aws.change(source.path(key).removeprefix("/param"))
        reader.changed_at = time.monotonic()
        before = fleet.counts()
        reader.join()
        after = fleet.counts()
    mean = sum(reader.last_old.get(key, 0.0) for key in range(changed)) / changed
    flags = f"{setup.flags()} {load.flags()} --aws-latency {mean_latency(after):.4f} --change-keys {changed}"
    flags += f" --change-at {warm_up:g} --warm-up {warm_up:g} --seconds {seconds:g}"
    # Clients of main-api show how it serves a changed name.
    figures = ("calls", "names", *(("share hit", "share stale") if setup.main else ()))
    measured = point(name, flags, after - before, figures)
    measured["figures"]["last old response, mean"] = round(mean, 3)
    return [measured]


@contextmanager
def running(setup: Setup) -> Iterator[Fleet]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        yield Fleet(setup, stack, Path(folder))


def mean_latency(counts: Counter[str]) -> float:
    return counts["aws_request_duration_seconds_sum"] / counts["aws_request_duration_seconds_count"]


def point(name: str, scenario: str, counts: Counter[str], figures: tuple[str, ...]) -> dict[str, Any]:
    if counts["engine failures"]:
        # The replicas were alone for a while.
        raise Failed(f"the shared cache failed {counts['engine failures']} times; the machine is too busy")
    requests = sum(count for figure, count in counts.items() if figure.startswith("share "))
    # Chance alone changes a smaller count by more than a tenth.
    figures = tuple(figure for figure in figures if counts[figure] >= LEAST)
    figures_of = {figure: counts[figure] / requests if figure.startswith("share ") else counts[figure] for figure in figures}
    print(f"{name}: " + ", ".join(f"{figure} {value:.4g}" for figure, value in figures_of.items()), file=sys.stderr)
    return {"name": name, "scenario": scenario, "figures": {figure: round(value, 4) for figure, value in figures_of.items()}}


CALLS = ("calls", "names")
# So few reads that a moment without the processor, in which reads pile up, adds little to the batches.
LOAD = Load(100, 150)


# The measurements, by the beginning of their points' names.
POINTS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    "1 replica": lambda name: zipf(name, Setup(1), LOAD, 40, (*CALLS, "share hit")),
    "3 replicas": lambda name: zipf(name, Setup(3), LOAD, 40, (*CALLS, "share hit")),
    "3 replicas, shared": lambda name: zipf(name, Setup(3, shared=True), LOAD, 40, CALLS),
    "2 main-api, 3 aux-service": lambda name: zipf(name, Setup(3, main=2), LOAD, 40, (*CALLS, "share hit")),
    # A quota of four calls a second, and a demand beyond it.
    "quota": lambda name: zipf(
        name, Setup(1, ttl=2, stale=120, rate=4), Load(16, 240, 0.5), 80, (*CALLS, "refused", "share stale"), first=40
    ),
    "outage": lambda name: outage(name, Setup(1), LOAD, 20, 20),
    "outage, 1 main-api, 1 aux-service": lambda name: outage(name, Setup(1, main=1), Load(40, 60), 20, 20),
    "change, 3 replicas": lambda name: change(name, Setup(3), Load(150, 200), 150, 10, 25),
    "change, 1 main-api, 1 aux-service": lambda name: change(name, Setup(1, main=1), Load(150, 200), 150, 10, 25),
    "change, 3 replicas, shared": lambda name: change(name, Setup(3, shared=True), Load(150, 200), 150, 10, 25),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=POINTS, metavar="POINT", default=list(POINTS), help="measure these points, not all")
    parser.add_argument("--binaries", type=Path, default=services.BINARIES, metavar="FOLDER", help="the folder of the services (target/dist)")
    parser.add_argument("--out", type=Path, default=FILE, metavar="FILE", help="the file of the points (bench/measured.json)")
    asked = parser.parse_args()
    services.BINARIES = asked.binaries
    processor = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    # The revision of the services.
    revision = said("git", "-C", str(ROOT), "log", "-1", "--format=%h", "--", "aux", "gateway", "shared")
    for name in asked.only:
        origin = f"bench/growth.py, {time.strftime('%Y-%m-%d', time.gmtime())}, {revision}, {processor[1] if processor else 'unknown processor'}"
        new = [{**point, "from": origin} for point in POINTS[name](name)]
        # The file is written after each measurement, so that a failure of a later one loses nothing.
        points = json.loads(asked.out.read_text())["points"] if asked.out.exists() else []
        points = [point for point in points if point["name"].partition(":")[0] != name]
        asked.out.write_text(json.dumps({"points": [*points, *new]}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(str(failure))

"""AWS is gone for minutes, and meanwhile all replicas are restarted one after the other."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import source
from fake_aws import STAMP, FakeAws
from generators import Replayed, replay
from http_client import ask, ask_all
from options import Options
from processes import Failed
from readers import Readers, text_of, write_requests
from results import Result
from stage import AUTHORIZATION, Stage
from subjects import SUBJECTS as ALL

SUBJECTS = ("direct-boto3", "agent", "nginx-uncoalesced", "replica", "replica-shared")

REPLICAS = 3
NAMES = 100
# To each subject.
REQUESTS_A_SECOND = 100
# A name may be refused so often before it is in a cache.
REFUSALS = 10
# While AWS is gone, boto3 waits between its attempts for seconds, so many requests are under way at once.
CONNECTIONS = 300


@dataclass(frozen=True)
class Times:
    """Durations in seconds. AWS is gone for `outage`; lifetimes are divided by `speed`."""

    before: int
    outage: int
    after: int
    speed: float


FULL = Times(before=10, outage=300, after=20, speed=1)
QUICK = Times(before=5, outage=30, after=10, speed=10)


def measure(options: Options, stage: Stage, result: Result) -> None:
    times = QUICK if options.quick else FULL
    seconds = times.before + times.outage + times.after
    requests = write_requests(stage.folder / "requests", NAMES, seconds * REQUESTS_A_SECOND)
    with ExitStack() as stack, ThreadPoolExecutor(len(result.figures)) as pool:
        everyone: dict[str, tuple[FakeAws, Readers]] = {}
        for subject in result.figures:
            aws = stack.enter_context(FakeAws(stamped=True))
            everyone[subject] = aws, Readers(stage, stack, subject, REPLICAS, aws, times.speed)
        for subject, (_, readers) in everyone.items():
            warm(subject, readers)
        options.say(f"{len(everyone)} subjects with {REPLICAS} replicas each have {NAMES} names in their caches")

        begin = time.monotonic()
        loads = {subject: pool.submit(load, subject, readers, requests, seconds) for subject, (_, readers) in everyone.items()}
        until(begin + times.before, loads)
        for aws, _ in everyone.values():
            aws.refuse()
        options.say(f"AWS is gone for {times.outage} s")
        for number in range(REPLICAS):
            until(begin + times.before + times.outage * (number + 1) / (REPLICAS + 1), loads)
            for _, readers in everyone.values():
                readers.restart(number)
            options.say(f"replica {number + 1} of each subject was restarted")
        until(begin + times.before + times.outage, loads)
        for aws, _ in everyone.values():
            aws.recover()
        options.say("AWS is back")
        for subject in everyone:
            seen = loads[subject].result()
            seen.works(ALL[subject].title)
            # The first and the last second are not wholly inside the outage.
            shares = seen.seconds[times.before + 1 : times.before + times.outage - 1]
            answered, after = sum(shares) / len(shares), sum(seen.seconds[-times.after // 2 :]) / (times.after // 2)
            result.add(subject, answered=answered, answered_after=after, oldest_s=seen.oldest_s, p99_us=seen.p99_us)
            for share in seen.seconds:
                result.add(subject, second=share)
            options.say(
                f"{ALL[subject].title}: {answered:.1%} answered during the outage, the oldest response {seen.oldest_s:.0f} s old"
                + (f"; the first failure: {seen.error:.120}" if seen.error else "")
            )
    result.facts |= {"before_s": times.before, "outage_s": times.outage}
    result.notes.append(
        f"{REPLICAS} replicas of each subject, {NAMES} names in the cache of each replica, {REQUESTS_A_SECOND} requests a second to each"
        f" subject. For {times.outage} s AWS refuses connections, and after each quarter of this time one replica of each subject is ended"
        " with SIGTERM and another one is started in its place, with nothing on its disk. Clients use the other replicas meanwhile."
        " A request is answered if it gets the right value within 5 s. The age is the time since the value was read from AWS; the value"
        " itself contains that time. All subjects run at the same time, each with a stand-in for AWS of its own and without a quota."
        + (f" Lifetimes are those of real use divided by {times.speed:g}." if times.speed != 1 else " Lifetimes are those of real use.")
    )


def warm(subject: str, readers: Readers) -> None:
    """Requests all names from each replica and checks the responses. aux-service refuses what is beyond its quota."""
    paths = [source.path(index) for index in range(NAMES)]
    for address in readers.addresses:
        for path, answer in zip(paths, ask_all(address, paths, AUTHORIZATION)):
            for _ in range(REFUSALS):
                if answer.status != 503:
                    break
                time.sleep(1)
                answer = ask(address, path, AUTHORIZATION)
            if answer.status != 200 or text_of(path) not in answer.body.decode():
                raise Failed(f"{ALL[subject].title} gave a wrong answer to {path}: {answer.status} {answer.body[:200]!r}")


def load(subject: str, readers: Readers, requests, seconds: int) -> Replayed:
    options = ("--sleep", "--stamp", STAMP)
    return replay(ALL[subject].title, readers.addresses, requests, AUTHORIZATION, seconds, REQUESTS_A_SECOND, CONNECTIONS, *options)


def until(end: float, loads: dict[str, Future[Replayed]]) -> None:
    """Waits, and raises if a load ends early."""
    while (rest := end - time.monotonic()) > 0:
        time.sleep(min(rest, 1.0))
        for future in loads.values():
            if future.done():
                future.result()

"""The time until all pods have seen a change, and the calls to AWS that this costs: pods that poll, and pods that wait."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import source
from fake_aws import FakeAws, value_of
from options import Options
from processes import Failed
from results import Result
from stage import Stage
from subjects import SUBJECTS as ALL
from waiting import Followers, start

# The interval of each pod's polls, in seconds.
POLLED = {"poll-10": 10.0, "poll-60": 60.0, "poll-300": 300.0}
PUSHED = ("waiting-aux", "waiting-main")
SUBJECTS = (*POLLED, *PUSHED)

PODS = 1_000
PATH = source.path(0)
NAME = PATH.removeprefix("/param")
# Time passes this much faster for pods that poll.
SPEED = 10
CHANGES = 3
# The time without a change in which the calls are counted.
QUIET_SECONDS, QUIET_QUICK_SECONDS = 130.0, 15.0
# The SDKs' standard retries: three attempts, with a random wait of up to 1 s and 2 s between them.
ATTEMPTS = 3
TIMEOUT = 60.0


def measure(options: Options, stage: Stage, result: Result) -> None:
    for subject, interval in POLLED.items():
        if not options.quick or interval < 300:
            polled(options, result, subject, interval)
    for subject in PUSHED:
        pushed(options, stage, result, subject)
    for subject in [subject for subject, figures in result.figures.items() if not figures]:
        del result.figures[subject]
    result.notes.append(
        f"{PODS:,} pods read one parameter. Each pod that polls calls GetParameter at its interval, at a random phase, and retries a"
        f" throttled call as the SDKs' standard mode does: {ATTEMPTS} attempts in all. That is our model of an SDK, because"
        f" {PODS:,} real ones do not fit on this machine. AWS has its default quota of 40 reads a second. The time of polling is"
        f" compressed {SPEED} times, waits between retries included, and reported as real time. The pods that wait send `Prefer: wait=55`"
        " to one aux-service, or to main-api in front of it, in real time; aux-service gets the event from the queue. The time ends when"
        " the last pod has the new value. The calls are those that read values; the queue's long polls come in addition, 180 an hour,"
        " and cost as SQS requests."
    )


@dataclass
class Pods:
    """Pods that poll AWS itself."""

    url: str
    interval: float
    expected: str = ""
    # The times at which the pods saw the expected value.
    seen: dict[int, float] = field(default_factory=dict)
    failure: BaseException | None = None

    async def poll(self, number: int) -> None:
        host, port = self.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps({"Name": NAME})
        request = (
            f"POST / HTTP/1.1\r\nhost: {host}\r\nx-amz-target: AmazonSSM.GetParameter\r\n"
            f"content-type: application/x-amz-json-1.1\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        ).encode()
        await asyncio.sleep(random.random() * self.interval)
        try:
            while True:
                due = time.monotonic() + self.interval
                for attempt in range(ATTEMPTS):
                    writer.write(request)
                    head = await reader.readuntil(b"\r\n\r\n")
                    told = json.loads(await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0])))
                    if "Parameter" in told:
                        self.learn(number, told["Parameter"]["Value"])
                        break
                    if told.get("__type") != "ThrottlingException":
                        raise Failed(f"a pod got another error: {told}")
                    if attempt + 1 < ATTEMPTS:
                        await asyncio.sleep(random.random() * 2**attempt / SPEED)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            writer.close()

    def learn(self, number: int, value: str) -> None:
        if self.expected and value.startswith(f"{self.expected} "):
            self.seen.setdefault(number, time.time())
        elif not value.split(" ")[1] == NAME:
            raise Failed(f"a pod got a wrong value: {value[:40]}")


def polled(options: Options, result: Result, subject: str, interval: float) -> None:
    with FakeAws(SPEED) as aws:
        asyncio.run(watch(options, result, subject, Pods(aws.url, interval / SPEED), aws))


async def watch(options: Options, result: Result, subject: str, pods: Pods, aws: FakeAws) -> None:
    tasks = [asyncio.create_task(pods.poll(number)) for number in range(PODS)]
    # From then on each pod polls at its interval.
    await asyncio.sleep(pods.interval)
    calls, throttled, begin = aws.calls, aws.throttled, time.monotonic()
    await asyncio.sleep(max(pods.interval, 3.0))
    hours = (time.monotonic() - begin) * SPEED / 3600
    result.add(subject, calls_an_hour=(aws.calls - calls) / hours, throttled_an_hour=(aws.throttled - throttled) / hours)
    for change in range(1, CHANGES + 1):
        pods.seen, pods.expected = {}, value_of(NAME, change)
        calls, changed = aws.calls, aws.change(NAME)
        end = time.monotonic() + TIMEOUT
        while len(pods.seen) < PODS:
            await asyncio.sleep(0.01)
            for task in tasks:
                if task.done():
                    task.result()
            if time.monotonic() > end:
                raise Failed(f"{len(pods.seen)} of {PODS} pods saw the change after {TIMEOUT:.0f} s")
        times = sorted((seen - changed) * SPEED * 1000 for seen in pods.seen.values())
        result.add(subject, half_ms=times[PODS // 2], last_ms=times[-1], calls_a_change=aws.calls - calls)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    say(options, result, subject)


def pushed(options: Options, stage: Stage, result: Result, subject: str) -> None:
    with ExitStack() as stack, FakeAws() as aws:
        _, server = start(stage, stack, aws, subject, "change")
        followers = Followers(stack, server.address, PODS, [PATH])
        calls, begin = aws.calls, time.monotonic()
        time.sleep(QUIET_QUICK_SECONDS if options.quick else QUIET_SECONDS)
        result.add(subject, calls_an_hour=(aws.calls - calls) * 3600 / (time.monotonic() - begin), throttled_an_hour=0)
        for _ in range(CHANGES):
            calls = aws.calls
            result.add(subject, last_ms=followers.learn(aws, PATH, PODS))
            result.add(subject, calls_a_change=aws.calls - calls)
    say(options, result, subject)


def say(options: Options, result: Result, subject: str) -> None:
    last, calls, hour = (result.median(subject, figure) for figure in ("last_ms", "calls_a_change", "calls_an_hour"))
    options.say(f"{ALL[subject].title}: seen by all after {last:,.0f} ms, {calls:,.0f} calls meanwhile, {hour:,.0f} calls an hour")

"""The calls to AWS of each way to read Parameter Store, by the numbers of replicas and names."""

from __future__ import annotations

from contextlib import ExitStack

from fake_aws import FakeAws
from generators import replay
from options import Options
from readers import Readers, write_requests
from results import Result
from services import TTL
from stage import AUTHORIZATION, Stage
from subjects import SUBJECTS as ALL

CACHES = ("agent", "nginx-uncoalesced", "replica", "replica-shared", "replica-shared-300")
DIRECT = ("direct-boto3", "direct-boto3-legacy", "direct-javascript")
SUBJECTS = (*DIRECT, *CACHES)

REPLICAS = (1, 3, 10)
NAMES = (100, 1_000, 10_000)
# A quick run measures these only.
QUICK_REPLICAS = (1, 10)
QUICK_NAMES = (1_000,)

# Of all clients together.
REQUESTS_A_SECOND = 100
# Each cache starts empty, and is measured for the longest of their lifetimes.
WINDOW_SECONDS = 300
SPEED = 20
# Direct reading has no lifetime. Its retries wait in real time, so its time is not compressed.
DIRECT_SECONDS, DIRECT_QUICK_SECONDS = 15, 6
DIRECT_NAMES = 1_000
# A request waits for seconds while the SDK retries, so many are under way at once.
DIRECT_CONNECTIONS = 600
# A multiple of each number of replicas.
CONNECTIONS = 60

# US dollars. The amount is in https://aws.amazon.com/systems-manager/pricing/. Each name in a call is an interaction:
# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-throughput.html
DOLLARS = 0.05
INTERACTIONS = 10_000
MONTH_SECONDS = 30 * 24 * 3600


def measure(options: Options, stage: Stage, result: Result) -> None:
    replicas_of = QUICK_REPLICAS if options.quick else REPLICAS
    for replicas in replicas_of:
        for subject in DIRECT:
            cell(options, stage, result, subject, replicas, DIRECT_NAMES, 1)
        for names in QUICK_NAMES if options.quick else NAMES:
            for subject in CACHES:
                cell(options, stage, result, subject, replicas, names, SPEED)
    result.notes.append(
        f"{REQUESTS_A_SECOND} requests a second in all, spread over the replicas; the n-th most wanted name has 1/n of the requests of"
        " the first. AWS has its default quota: 40 reads a second, with one second's burst. A replica is a pod that calls AWS itself, a"
        " pod with an agent, nginx with an aux-service without a cache, or aux-service. boto3 and the AWS SDK for JavaScript are the real"
        f" ones with their defaults, in real time for some seconds with {DIRECT_NAMES:,} names; the number of names makes no"
        " difference to them. The agent is our model of AWS's policy, with boto3 behind it: AWS's agent reads Secrets Manager only. It has"
        " 1,000 entries, a lifetime of 300 s, one call for concurrent misses, and a stale entry while AWS fails. nginx and aux-service"
        f" have a lifetime of {TTL} s, and aux-service in its last row the agent's. The caches"
        f" start empty and are measured for {WINDOW_SECONDS} s, in time that is compressed {SPEED} times: lifetimes are divided and quotas"
        f" and rates multiplied by that. The stand-in for AWS responds within about a millisecond, which is {SPEED} ms in compressed time."
        " The waits between retries are not compressed. The price is that of \"higher throughput\":"
        f" {DOLLARS} USD for {INTERACTIONS:,} names read, for 30 days of this load, if all of it is answered."
    )


def cell(options: Options, stage: Stage, result: Result, subject: str, replicas: int, names: int, speed: float) -> None:
    """Measures one subject with a number of replicas and of names."""
    seconds = round(WINDOW_SECONDS / speed) if subject in CACHES else (DIRECT_QUICK_SECONDS if options.quick else DIRECT_SECONDS)
    rate = round(REQUESTS_A_SECOND * speed)
    own = Stage(stage.folder / f"{names}", stage.core, stage.stack)
    own.folder.mkdir(exist_ok=True)
    requests = write_requests(own.folder / "requests", names, seconds * rate)
    connections = CONNECTIONS if subject in CACHES else DIRECT_CONNECTIONS
    with ExitStack() as stack, FakeAws(speed) as aws:
        readers = Readers(own, stack, subject, replicas, aws, speed)
        seen = replay(ALL[subject].title, readers.addresses, requests, AUTHORIZATION, seconds, rate, connections, "--sleep")
        seen.works(ALL[subject].title)
        place = place_of(replicas, names)
        result.add(subject, **{
            f"calls@{place}": aws.calls / seen.requests * 1000,
            f"reads@{place}": aws.reads / max(1, seen.right) * 1000,
            f"throttled@{place}": aws.throttled / seen.requests * 1000,
            f"answered@{place}": seen.right / seen.requests,
        })
        if subject in CACHES:
            asked = len(set(requests.read_text().splitlines()))
            result.add(subject, **{f"again@{place}": (aws.reads - asked) / asked / (WINDOW_SECONDS / TTL)})
        options.say(
            f"{ALL[subject].title}, {replicas} replicas, {names:,} names: {aws.calls:,} calls ({aws.throttled:,} throttled) with"
            f" {aws.reads:,} names for {seen.requests:,} requests, {seen.right / seen.requests:.1%} answered"
            + (f"; the first failure: {seen.error:.120}" if seen.error else "")
        )


def place_of(replicas: int, names: int) -> str:
    return f"{replicas}×{names}"


def price(reads_per_1000: float) -> float:
    """US dollars a month, for the names read per 1,000 requests."""
    return reads_per_1000 / 1000 * REQUESTS_A_SECOND * MONTH_SECONDS / INTERACTIONS * DOLLARS

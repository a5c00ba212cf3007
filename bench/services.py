"""The commands that start our services."""

from __future__ import annotations

from pathlib import Path

import source
from fake_aws import READS_A_SECOND, REGION
from stage import BINARIES, TOKEN, Server, Stage

# The limit of waiting requests; the default is 4096.
MAX_WAITING = "20000"

# The default lifetime of an entry, in seconds.
TTL = 60
# The lifetime in the cache of AWS's agent, in seconds.
AGENT_TTL = 300


def aux_service(stage: Stage, address: str, folder: Path) -> list[str]:
    data = source.write(stage.folder, stage.data)
    return [
        *service("aux-service", address, folder),
        *("--backend", "embedded", "--embedded-file", str(data)),
        *("--cache-ttl", stage.ttl, "--cache-negative-ttl", stage.ttl, "--cache-ttl-jitter", "0"),
        *("--cache-stale-while-revalidate", stage.stale, "--cache-stale-if-error", stage.stale),
    ]


def reader_of_aws(stage: Stage, address: str, folder: Path) -> list[str]:
    return [*environment_of_aws(stage), *service("aux-service", address, folder)]


def environment_of_aws(stage: Stage, **others: str) -> list[str]:
    """The beginning of a command that configures the AWS SDKs."""
    # boto3 has a name of its own for the region.
    aws = {"AWS_ENDPOINT_URL": stage.aws, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
    aws |= {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}
    return ["env", *(f"{name}={value}" for name, value in (aws | others).items())]


def replica(stage: Stage, address: str, folder: Path, ttl: float = TTL) -> list[str]:
    """aux-service with its default lifetimes and quotas, in the stage's time."""
    flags = {
        "--cache-ttl": ttl,
        "--cache-stale-while-revalidate": 60,
        "--cache-stale-if-error": 3600,
        "--cache-negative-ttl": 10,
    }
    command = reader_of_aws(stage, address, folder)
    for flag, seconds in flags.items():
        command += [flag, f"{round(seconds * 1000 / stage.speed)}ms"]
    for flag in ("--aws-rate-get", "--shared-aws-rate-get"):
        command += [flag, f"{READS_A_SECOND * stage.speed:g}"]
    return command


def replica_shared(stage: Stage, address: str, folder: Path, ttl: float = TTL) -> list[str]:
    return [*replica(stage, address, folder, ttl), "--shared-cache-url", stage.engine]


def replica_shared_as_agent(stage: Stage, address: str, folder: Path) -> list[str]:
    return replica_shared(stage, address, folder, AGENT_TTL)


def replica_uncached(stage: Stage, address: str, folder: Path) -> list[str]:
    return [*replica(stage, address, folder), "--cache", "off"]


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

"""A network with its own host table and with moto as AWS, so that ports and names can be the cluster's.

The scripts run as root in a network and mount namespace (`unshare --net --mount`) and change nothing outside of it.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3


def loopback_up() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def host_table(folder: Path, names: list[str], others: Iterable[tuple[str, str]] = ()) -> None:
    """Resolves each of these names to 127.0.0.1, and the names of the pairs to their addresses. A name may have several."""
    table = folder / "hosts"
    lines = [f"127.0.0.1 localhost {' '.join(names)}", "::1 localhost", *(f"{address} {name}" for address, name in others)]
    table.write_text("".join(f"{line}\n" for line in lines))
    subprocess.run(["mount", "--bind", table, "/etc/hosts"], check=True)


def certificate(folder: Path, names: list[str]) -> tuple[Path, Path, Path]:
    """The files of a private authority, and of a server's certificate and key for these names."""

    def openssl(command: str) -> None:
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)

    (folder / "extensions").write_text("subjectAltName=" + ",".join(f"DNS:{name}" for name in names))
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=Private-CA -keyout ca.key -out ca.crt")
    openssl(f"req -newkey rsa:2048 -nodes -subj /CN={names[0]} -keyout server.key -out server.csr")
    signing = "-CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions"
    openssl(f"x509 -req -days 2 -in server.csr {signing} -out server.crt")
    return folder / "ca.crt", folder / "server.crt", folder / "server.key"


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 30, address: str = "127.0.0.1") -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the process ended with status {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((address, port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"the process does not listen on port {port}")


@contextmanager
def running(command: Sequence[str | Path], log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def aws(folder: Path, port: int, tls: tuple[Path, Path] | None = None) -> Iterator[None]:
    """moto on a port, over TLS if `tls` has a certificate and a key."""
    command: list[str | Path] = [os.environ["MOTO_SERVER"], "-H", "0.0.0.0", "-p", str(port)]
    if tls:
        command += ["--ssl-cert", tls[0], "--ssl-key", tls[1]]
    # Without this moto interprets the first part of any host name as a bucket.
    env = os.environ | {"S3_IGNORE_SUBDOMAIN_BUCKETNAME": "1"}
    with running(command, folder / f"moto-{port}.log", env) as process:
        wait_for_port(port, process)
        yield


@contextmanager
def engine(folder: Path, port: int, password: str, tls: tuple[Path, Path] | None = None) -> Iterator[None]:
    """redis-server on a port, over TLS if `tls` has a certificate and a key."""
    listen = ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"] if tls else ["--port", str(port)]
    files = ["--tls-cert-file", tls[0], "--tls-key-file", tls[1], "--tls-ca-cert-file", folder / "ca.crt"] if tls else []
    command = ["redis-server", *listen, *files, "--requirepass", password, "--save", "", "--dir", folder]
    with running(command, folder / f"engine-{port}.log") as process:
        wait_for_port(port, process)
        yield


def engine_keys(url: str, password: str) -> list[str]:
    """The keys that the engine has at a URL. The certificate's authority is not this function's subject."""
    address = urlsplit(url)
    command = ["redis-cli", "-h", str(address.hostname), "-p", str(address.port), *(["--tls", "--insecure"] if "rediss" in url else [])]
    env = os.environ | {"REDISCLI_AUTH": password}
    done = subprocess.run([*command, "--scan"], env=env, capture_output=True, text=True, check=True)
    return done.stdout.split()


def _clients(endpoint: str, authority: Path | None = None) -> Callable[[str], Any]:
    """A function that returns the client of a service of AWS at this endpoint."""
    return functools.partial(
        boto3.client, endpoint_url=endpoint, region_name="eu-west-2", aws_access_key_id="test", aws_secret_access_key="test",
        verify=str(authority) if authority else None,
    )  # fmt: skip


def seed(endpoint: str, authority: Path | None = None) -> None:
    """Creates the bucket and the parameter of the tests."""
    client = _clients(endpoint, authority)
    location = {"LocationConstraint": "eu-west-2"}
    client("s3").create_bucket(Bucket="kantox-challenge-bucket", CreateBucketConfiguration=location)
    client("ssm").put_parameter(Name="/challenge/kantox", Value="cloud-engineer", Type="String")


def parameter(endpoint: str, name: str) -> str:
    """The value of a parameter."""
    value: str = _clients(endpoint)("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    return value


def new_queue(endpoint: str, url: str) -> None:
    """Creates a queue in the place of the one with this URL.

    moto continues the long poll of a program that has ended, for up to 20 s. That poll would take the next program's message.
    """
    sqs = _clients(endpoint)("sqs")
    name = url.rsplit("/", 1)[-1]
    if sqs.list_queues(QueueNamePrefix=name).get("QueueUrls"):
        sqs.delete_queue(QueueUrl=url)
    sqs.create_queue(QueueName=name)


def send_change(endpoint: str, queue: str) -> None:
    """Sends the event of a changed parameter to a queue, in the form of EventBridge."""
    event = {
        "version": "0", "id": str(uuid.uuid4()), "detail-type": "Parameter Store Change", "source": "aws.ssm", "account": "123456789012",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "region": "eu-west-2",
        "resources": ["arn:aws:ssm:eu-west-2:123456789012:parameter/challenge/kantox"],
        "detail": {"operation": "Update", "name": "/challenge/kantox", "type": "String"},
    }  # fmt: skip
    _clients(endpoint)("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(event))

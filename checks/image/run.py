"""Both images with the restrictions of the charts: read-only, without capabilities, as their own user.

They run in a network of their own, with a DNS server, and with moto behind TLS and a certificate of a private authority.
"""

from __future__ import annotations

import json
import os
import stat
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sandbox

USER = 65532
# The names that a pod resolves: AWS's, and the search domains that complete a short name.
AWS = "aws.internal.example"
SEARCH = "aux-service.svc.cluster.local svc.cluster.local cluster.local"
FILES = {"etc/group", "etc/nsswitch.conf", "etc/passwd", "etc/ssl/certs/ca-certificates.crt"}


class Image:
    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.folder = folder
        self.config: dict[str, Any] = json.loads((folder / "image.json").read_text())["OCIv1"]["config"]
        self.packed = (folder / "archive.tar").stat().st_size
        self.port = int(next(iter(self.config["ExposedPorts"])).split("/")[0])

    def problems(self) -> Iterator[str]:
        """Differences from the expected files, permissions and configuration."""
        root = self.folder / "rootfs"
        found = {p for p in root.rglob("*") if not p.is_dir()}
        names = {str(p.relative_to(root)) for p in found}
        if names != FILES | {self.name}:
            yield f"these files are missing or unexpected: {sorted(names ^ (FILES | {self.name}))}"
        for path in [root, *root.rglob("*")]:
            info = path.lstat()
            if info.st_uid or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID):
                yield f"/{path.relative_to(root)}: another user than root owns it or may write it: {stat.filemode(info.st_mode)}"
        wanted = {"User": f"{USER}:{USER}", "Entrypoint": [f"/{self.name}"]}
        for key, value in wanted.items():
            if self.config.get(key) != value:
                yield f"{key} is {self.config.get(key)}"
        labels = {f"org.opencontainers.image.{k}": v for k, v in {
            "title": self.name, "version": os.environ["IMAGE_VERSION"], "revision": os.environ["IMAGE_REVISION"],
            "source": os.environ["IMAGE_SOURCE"], "licenses": "Apache-2.0",
        }.items()}  # fmt: skip
        if labels.items() - self.config["Labels"].items():
            yield f"its labels are {self.config['Labels']}"

    def unpacked(self) -> int:
        return sum(p.stat().st_size for p in (self.folder / "rootfs").rglob("*") if p.is_file())


@contextmanager
def container(image: Image, folder: Path, env: dict[str, str], resolver: Path, authority: Path | None) -> Iterator[int]:
    """Runs the image in runc, as k3s does; yields the process ID in the host's namespace."""
    bundle = Path(tempfile.mkdtemp(dir=folder))
    subprocess.run(["runc", "spec", "--bundle", bundle], check=True)
    spec = json.loads((bundle / "config.json").read_text())
    spec["root"] = {"path": str(image.folder / "rootfs"), "readonly": True}
    spec["process"] |= {
        "terminal": False, "args": image.config["Entrypoint"], "user": {"uid": USER, "gid": USER}, "noNewPrivileges": True,
        "env": [*image.config.get("Env", []), *(f"{k}={v}" for k, v in env.items())],
        "capabilities": {kind: [] for kind in ("bounding", "effective", "permitted")},
    }  # fmt: skip
    spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] != "network"]
    spec["mounts"] = [m for m in spec["mounts"] if not m["destination"].startswith("/sys")]
    binds = {"/etc/resolv.conf": resolver} | ({"/etc/ssl/certs/ca-certificates.crt": authority} if authority else {})
    for destination, source in binds.items():
        spec["mounts"].append({"destination": destination, "type": "bind", "source": str(source), "options": ["bind", "ro"]})
    (bundle / "config.json").write_text(json.dumps(spec))
    name = f"{image.name}-{bundle.name}"
    log, pid_file = bundle / "log", bundle / "pid"
    with sandbox.running(["runc", "run", "--bundle", bundle, "--pid-file", pid_file, name], log) as process:
        try:
            deadline = time.monotonic() + 10
            while not (pid_file.exists() and pid_file.read_text()):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{image.name} did not start: {log.read_text()}")
                time.sleep(0.001)
            yield int(pid_file.read_text())
        finally:
            subprocess.run(["runc", "delete", "--force", name], check=False, capture_output=True)


def get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=15) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).close()
            return
        except OSError:
            time.sleep(0.001)
    raise RuntimeError(f"no service is ready on port {port}")


def memory(pid: int) -> int:
    return next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))


def expect(label: str, answer: tuple[int, dict[str, Any]], status: int, **members: object) -> list[str]:
    got, body = answer
    if got == status and members.items() <= body.items():
        return []
    return [f"{label}: wanted {status} with {members}, got {got}: {body}"]


def start_times(image: Image, folder: Path, resolver: Path, env: dict[str, str]) -> tuple[float, int]:
    """The median of five times from `runc run` to the first 200 of /readyz, in milliseconds, and the memory then, in KiB."""
    times, resident = [], 0
    for _ in range(5):
        began = time.monotonic()
        with container(image, folder, env, resolver, None) as pid:
            wait_until_ready(image.port)
            times.append((time.monotonic() - began) * 1000)
            resident = memory(pid)
    return statistics.median(times), resident


def answers(aux: Image, main: Image, folder: Path, resolver: Path, nowhere: Path, authority: Path) -> Iterator[str]:
    aws = {"AWS_REGION": "eu-west-2", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL": f"https://{AWS}:8443"}
    upstream = {"AUX_URL": "http://aux-service.aux-service:5000"}
    with container(aux, folder, aws, resolver, authority), container(main, folder, upstream, resolver, None):
        for image in (aux, main):
            wait_until_ready(image.port)
        for image in (aux, main):
            yield from expect(image.name, get(image.port, "/buckets"), 200, buckets=["kantox-challenge-bucket"])
            yield from expect(image.name, get(image.port, "/param/challenge/kantox"), 200, value="cloud-engineer")
    with container(aux, folder, aws, resolver, None):
        wait_until_ready(aux.port)
        yield from expect("a certificate of an unknown authority", get(aux.port, "/buckets"), 502, code="aws-unavailable")
    with container(aux, folder, aws, nowhere, authority):
        wait_until_ready(aux.port)
        status, body = get(aux.port, "/buckets")
        if status < 500:
            yield f"without DNS the status was still {status}: {body}"


def main() -> int:
    images = Path(sys.argv[1])
    aux, main_api = Image(images / "aux-service"), Image(images / "main-api")
    problems = [f"{image.name}: {p}" for image in (aux, main_api) for p in image.problems()]
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        sandbox.loopback_up()
        resolver, nowhere = folder / "resolv.conf", folder / "nowhere.conf"
        resolver.write_text(f"search {SEARCH}\nnameserver 127.0.0.1\noptions ndots:5\n")
        nowhere.write_text("nameserver 127.0.0.2\noptions timeout:1 attempts:1\n")
        answer = [f"--address=/{name}/127.0.0.1" for name in (AWS, "aux-service.aux-service.svc.cluster.local")]
        dns = ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces",
               "--user=root", "--conf-file=/dev/null", "--pid-file=", *answer]  # fmt: skip
        stack.enter_context(sandbox.running(dns, folder / "dns.log"))
        sandbox.host_table(folder, [AWS])  # The client that fills moto uses it; containers have their own.
        authority, certificate, key = sandbox.certificate(folder, [AWS])
        stack.enter_context(sandbox.aws(folder, 8443, (certificate, key)))
        sandbox.seed(f"https://{AWS}:8443", authority)
        problems += answers(aux, main_api, folder, resolver, nowhere, authority)
        print(f"{'image':14}{'in a registry':>16}{'unpacked':>12}{'ready after':>14}{'memory':>10}")
        for image, env in ((aux, {"BACKEND": "embedded"}), (main_api, {})):
            milliseconds, kib = start_times(image, folder, resolver, env)
            sizes = f"{image.packed / 1e6:>13.1f} MB{image.unpacked() / 1e6:>9.1f} MB"
            print(f"{image.name:14}{sizes}{milliseconds:>11.0f} ms{kib / 1024:>6.1f} MiB")
    for problem in problems:
        print(f"     {problem}", file=sys.stderr)
    print("FAIL" if problems else "ok   both images have the expected files and work read-only, without privileges, over TLS and DNS")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""A real engine under the configuration of helm/valkey/values.yaml: its permissions, and the keys that it evicts.

redis-server takes the place of Valkey, which no package registry has. Both have the same commands and policies here.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import valkey

PASSWORD = "password-of-the-check"
# aux-service uses commands of these kinds, and has to be refused the others.
PERMITTED = ["PING", "SET lock token PX 20000 NX", "EVAL 'return redis.call(\"pttl\", KEYS[1])' 1 lock", "HSET bucket tokens 1",
             "EXPIRE bucket 20", "DEL none", "PUBLISH channel message", "INFO memory"]  # fmt: skip
REFUSED = ["FLUSHALL", "CONFIG GET maxmemory", "KEYS *", "SHUTDOWN NOSAVE", "REPLICAOF 192.0.2.1 6379"]
# The check lowers the limit of memory and writes more than that.
LIMIT, RECORD = 8 * 2**20, 4096


class Engine:
    def __init__(self, port: int) -> None:
        self.command = ["redis-cli", "-p", str(port)]

    def run(self, *lines: str) -> list[str]:
        """One line of output for each line of input."""
        env = os.environ | {"REDISCLI_AUTH": PASSWORD}
        done = subprocess.run(self.command, env=env, input="\n".join(lines), capture_output=True, text=True, check=True)
        return [line for line in done.stdout.splitlines() if line]

    def write(self, name: str, size: int) -> None:
        self.run(*(f"SET {name}{number} {'x' * RECORD} EX 3660" for number in range(size // RECORD)))

    def statistic(self, name: str) -> int:
        found = dict(line.split(":") for line in self.run("INFO everything") if ":" in line)
        return int(found[name])


@contextmanager
def started() -> Iterator[Engine]:
    given = valkey.chart_values()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        users = Path(folder, "users.acl")
        users.write_text(f"user default on >{PASSWORD} {given['auth']['aclUsers']['default']['permissions']}\n")
        config = Path(folder, "valkey.conf")
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        config.write_text(f"bind 127.0.0.1\nport {port}\ndir {folder}\naclfile {users}\n{given['valkeyConfig']}\nmaxmemory {LIMIT}\n")
        output = Path(folder, "log")
        with output.open("wb") as log:
            process = subprocess.Popen(["redis-server", config], stdout=log, stderr=log)
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if process.poll() is not None or probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            if process.poll() is not None:
                raise ValueError(output.read_text()[-400:])
            yield Engine(port)
            process.terminate()
            process.wait()
            if kept := [path.name for path in Path(folder).iterdir() if path not in (users, config, output)]:
                raise ValueError(f"the engine leaves {kept} on disk")
        finally:
            process.kill()


def problems() -> list[str]:
    try:
        with started() as engine:
            return [*_permissions(engine), *_eviction(engine)]
    except ValueError as error:
        return [f"helm/valkey/values.yaml: the engine: {error}"]


def _permissions(engine: Engine) -> Iterator[str]:
    for command in PERMITTED:
        if "NOPERM" in (said := " ".join(engine.run(command))) or said.startswith("ERR"):
            yield f"helm/valkey/values.yaml: auth.aclUsers: {command}: {said}"
    for command in REFUSED:
        if "NOPERM" not in (said := " ".join(engine.run(command))):
            yield f"helm/valkey/values.yaml: auth.aclUsers permits {command}: {said}"


def _eviction(engine: Engine) -> Iterator[str]:
    """The records are older than the bucket and the lock, as most are in an engine that is full."""
    engine.run("DEL lock bucket")
    engine.write("old", LIMIT)
    if not engine.statistic("evicted_keys"):
        yield "helm/valkey/values.yaml: valkeyConfig: a full engine evicts nothing"
        return
    # The engine measures idleness in seconds.
    engine.run("SET clock 1")
    while int(engine.run("OBJECT IDLETIME clock")[0]) < 2:
        time.sleep(0.1)
    engine.run("SET lock token PX 20000", "HSET bucket tokens 1", "EXPIRE bucket 20")
    engine.write("new", LIMIT // 2)
    lost = [key for key in ("lock", "bucket") if engine.run(f"EXISTS {key}") != ["1"]]
    if lost:
        yield f"helm/valkey/values.yaml: valkeyConfig: a full engine evicts a {' and a '.join(lost)} before old records"

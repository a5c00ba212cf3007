"""A pod that reads Parameter Store with boto3, and responds over HTTP as aux-service does: pod.py ADDRESS [TTL_SECONDS].

Without a TTL it calls AWS for each request, with boto3's defaults. With a TTL it has the policy of AWS's agent: a cache of this pod
alone, with 1,000 entries and this lifetime, and a stale entry while AWS fails. Whether that agent lets concurrent misses share a call
is not documented; here they do. The environment configures boto3.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# The agent's default, and its maximum.
ENTRIES = 1000
# Requests wait for AWS in at most so many threads, each with a connection.
THREADS = 256
# Errors of which the next attempt may have another result.
TRANSIENT = ("ThrottlingException", "InternalServerError")

Entry = tuple[float, str]


class Pod:
    def __init__(self, ttl: float | None) -> None:
        self.ttl = ttl
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self.loads: dict[str, asyncio.Future[str]] = {}
        # One client, and only its number of connections is changed, so that threads do not wait for each other.
        self.client = boto3.client("ssm", config=Config(max_pool_connections=THREADS))
        self.threads = ThreadPoolExecutor(THREADS)

    async def read(self, name: str) -> tuple[int, dict[str, str]]:
        """The status and the body of a response."""
        entry = self.entries.get(name)
        if entry and self.ttl and time.monotonic() - entry[0] < self.ttl:
            self.entries.move_to_end(name)
            return 200, {"value": entry[1]}
        try:
            value = await self.load(name)
        except (BotoCoreError, ClientError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
            if entry and (isinstance(error, BotoCoreError) or code in TRANSIENT):
                return 200, {"value": entry[1]}
            return 502, {"error": code}
        if self.ttl:
            self.entries[name] = time.monotonic(), value
            self.entries.move_to_end(name)
            if len(self.entries) > ENTRIES:
                self.entries.popitem(last=False)
        return 200, {"value": value}

    async def load(self, name: str) -> str:
        """Calls AWS. Concurrent requests to a pod with a cache share one call."""
        run = asyncio.get_running_loop().run_in_executor
        if not self.ttl:
            return await run(self.threads, self.call, name)
        if name not in self.loads:
            self.loads[name] = run(self.threads, self.call, name)
            self.loads[name].add_done_callback(lambda _: self.loads.pop(name))
        return await self.loads[name]

    def call(self, name: str) -> str:
        return self.client.get_parameter(Name=name)["Parameter"]["Value"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                status, told = (200, {}) if path == "/readyz" else await self.read(path.removeprefix("/param"))
                body = json.dumps(told).encode()
                writer.write(f"HTTP/1.1 {status} -\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def main() -> None:
    host, port = sys.argv[1].split(":")
    pod = Pod(float(sys.argv[2]) if len(sys.argv) > 2 else None)
    server = await asyncio.start_server(pod.serve, host, int(port), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

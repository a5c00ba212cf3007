"""A Parameter Store that has every parameter, counts its calls, throttles as AWS does and fails on command, and a queue of changes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import source

REGION = "eu-west-2"
ACCOUNT = "123456789012"

# The default quotas of an account in a region, in calls a second: all operations that read values share one of them.
# https://docs.aws.amazon.com/general/latest/gr/ssm.html
READS_A_SECOND = 40
LISTS_A_SECOND = 3
READS = ("GetParameter", "GetParameters", "GetParametersByPath")

# The time of the read in each value, if the values have it.
STAMP = "read-at-"


@dataclass
class Quota:
    """A token bucket. Its burst is one second's calls."""

    rate: float
    tokens: float
    filled: float

    @classmethod
    def of(cls, rate: float) -> Quota:
        return cls(rate, rate, time.monotonic())

    def takes(self) -> bool:
        now = time.monotonic()
        self.tokens = min(self.rate, self.tokens + (now - self.filled) * self.rate)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class FakeAws:
    """Serves from a thread of its own until it is closed.

    `calls` counts the calls that read values, `throttled` those of them that were refused, and `reads` the names in the others.
    `speed` multiplies the quotas, for a run in compressed time; 0 means no quota. With `stamped`, each value contains the time at
    which it was read, so that a client can compute the age of a response.
    """

    def __init__(self, speed: float = 0, stamped: bool = False) -> None:
        self.calls = self.throttled = self.reads = 0
        self._quotas = {"read": Quota.of(speed * READS_A_SECOND), "list": Quota.of(speed * LISTS_A_SECOND)} if speed else {}
        self._stamped = stamped
        self._changes: Counter[str] = Counter()
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._connections: set[asyncio.StreamWriter] = set()
        self._listener: asyncio.Server | None = None
        self._answers = asyncio.Event()
        self._answers.set()
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._listen())
        self.url = f"http://127.0.0.1:{self._port}"
        self.queue_url = f"{self.url}/{ACCOUNT}/changes"

    def __enter__(self) -> FakeAws:
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def refuse(self) -> None:
        """Closes all connections and refuses new ones, until `recover`."""
        self._run(self._close())

    def hang(self) -> None:
        """Accepts calls and does not respond, until `recover`."""
        self._call(self._answers.clear)

    def recover(self) -> None:
        self._call(self._answers.set)
        if not self._listener:
            self._run(self._listen())

    def change(self, name: str) -> float:
        """Gives a parameter another value, and puts the event into the queue. Returns the time, in seconds since 1970."""
        detail = {"name": name, "type": "String", "operation": "Update"}
        event = {"source": "aws.ssm", "detail-type": "Parameter Store Change", "detail": detail}
        body = json.dumps(event)
        now = time.time()
        message = {
            "MessageId": str(now),
            "ReceiptHandle": str(now),
            "MD5OfBody": hashlib.md5(body.encode()).hexdigest(),
            "Body": body,
            "Attributes": {"SentTimestamp": str(round(now * 1000)), "ApproximateReceiveCount": "1"},
        }

        def happens() -> None:
            self._changes[name] += 1
            self._messages.put_nowait(message)

        self._call(happens)
        return now

    def _call(self, function: Callable[[], None]) -> None:
        """Calls the function in the server's thread, and waits for its end."""
        done: Future[None] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(function()))
        done.result()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        # A restart of the server must find its port free, although connections to it have just ended.
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=4096, reuse_address=True)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._listener:
            self._listener.close()
            self._listener = None
        for connection in self._connections:
            connection.transport.abort()

    async def _end(self) -> None:
        await self._close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.splitlines()[1:])}
                asked = json.loads(await reader.readexactly(int(fields["content-length"])))
                await self._answers.wait()
                status, response = await self._response(fields["x-amz-target"].partition(".")[2], asked)
                body = json.dumps(response).encode()
                told = f"HTTP/1.1 {status}\r\ncontent-type: {fields['content-type']}\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(told.encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # A client that ends abandons its receive, and so does the end of this server.
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _response(self, operation: str, asked: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if operation == "ReceiveMessage":
            try:
                return "200 OK", {"Messages": [await asyncio.wait_for(self._messages.get(), asked["WaitTimeSeconds"] or 0.001)]}
            except TimeoutError:
                return "200 OK", {}
        if operation == "DeleteMessageBatch":
            return "200 OK", {"Successful": [{"Id": entry["Id"]} for entry in asked["Entries"]], "Failed": []}
        is_read = operation in READS
        self.calls += is_read
        quota = self._quotas.get("read" if is_read else "list")
        if quota and not quota.takes():
            self.throttled += is_read
            return "400 Bad Request", {"__type": "ThrottlingException", "message": "Rate exceeded"}
        if operation == "DescribeParameters":
            return "200 OK", {"Parameters": []}
        names = asked.get("Names") or [asked["Name"]]
        self.reads += len(names)
        found = [self._parameter(name) for name in names]
        return "200 OK", {"Parameters": found, "InvalidParameters": []} if "Names" in asked else {"Parameter": found[0]}

    def _parameter(self, name: str) -> dict[str, Any]:
        changes = self._changes[name]
        stamp = f" {STAMP}{time.time():.3f}" if self._stamped else ""
        return {
            "Name": name,
            "Type": "String",
            "Value": f"{value_of(name, changes)}{stamp} ".ljust(source.VALUE_BYTES, "x"),
            "Version": 1 + changes,
            "LastModifiedDate": 1767225600.0 + changes,
            "ARN": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{name}",
            "DataType": "text",
        }


def value_of(name: str, changes: int = 0) -> str:
    """The beginning of a parameter's value: it differs for each parameter and after each change."""
    return f"{changes:05} {name}"

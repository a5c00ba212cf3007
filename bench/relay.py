"""A relay in front of aux-service that makes it fail on command: relay.py ADDRESS TARGET.

It passes connections on until a connection sends a line `MODE` with one of the modes:

- pass: bytes go through;
- hang: nothing goes through, in either direction, and connections stay open;
- reset: each connection is reset once it sends something;
- throttle: each request gets the response of an aux-service that AWS throttles.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys

PROBLEM = json.dumps({"status": 503, "code": "aws-throttled", "title": "AWS throttles", "retryable": True}).encode()
THROTTLED = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\ncache-control: no-store\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(PROBLEM), PROBLEM)
)
RESET = struct.pack("ii", 1, 0)


class Relay:
    def __init__(self, target: str) -> None:
        host, port = target.split(":")
        self.target = host, int(port)
        self.mode = "pass"
        self.passes = asyncio.Event()
        self.passes.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.read(65536)
            if first.startswith(b"MODE "):
                self.set(first.split()[1].decode())
                writer.write(b"ok\n")
                return
            await self.relay(first, reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def set(self, mode: str) -> None:
        self.mode = mode
        if mode == "hang":
            self.passes.clear()
        else:
            self.passes.set()

    async def relay(self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Sends the client's bytes on, or fails."""
        behind: asyncio.StreamWriter | None = None
        back: asyncio.Task[None] | None = None
        try:
            while data:
                await self.passes.wait()
                if self.mode == "reset":
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    writer.transport.abort()
                    return
                if self.mode == "throttle":
                    # Requests have no bodies here.
                    writer.write(THROTTLED * data.count(b"\r\n\r\n"))
                else:
                    if not behind or (back and back.done()):
                        answers, behind = await asyncio.open_connection(*self.target)
                        back = asyncio.create_task(self.send_back(answers, writer))
                    behind.write(data)
                data = await reader.read(65536)
        finally:
            if back:
                back.cancel()
            if behind:
                behind.close()

    async def send_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Returns the bytes of aux-service, and closes the client's connection after it."""
        try:
            while data := await reader.read(65536):
                await self.passes.wait()
                writer.write(data)
        except ConnectionError:
            pass
        writer.close()


async def main() -> None:
    host, port = sys.argv[1].split(":")
    server = await asyncio.start_server(Relay(sys.argv[2]).serve, host, int(port), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

"""A Parameter Store that has every parameter and counts the names in the calls to it, and a queue of its changes."""

from __future__ import annotations

import hashlib
import json
import queue
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import source

REGION = "eu-west-2"
ACCOUNT = "123456789012"


class FakeAws:
    """Serves until it is closed. `reads` is the number of names that were read."""

    def __init__(self) -> None:
        self.reads = 0
        self._changes: Counter[str] = Counter()
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # The head and the body are two writes, and the second one would wait for the acknowledgement of the first.
            disable_nagle_algorithm = True

            def do_POST(handler) -> None:  # noqa: N805
                asked = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
                operation = handler.headers["x-amz-target"].partition(".")[2]
                encoded = json.dumps(self._response(operation, asked)).encode()
                handler.send_response(200)
                handler.send_header("content-type", handler.headers["content-type"])
                handler.send_header("content-length", str(len(encoded)))
                handler.end_headers()
                handler.wfile.write(encoded)

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(server, *client: Any) -> None:  # noqa: N805
                # A service that ends abandons its receive.
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(*client)

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.queue_url = f"{self.url}/{ACCOUNT}/changes"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> FakeAws:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def change(self, name: str) -> float:
        """Gives a parameter another value, and puts the event into the queue. Returns the time, in seconds since 1970."""
        with self._lock:
            self._changes[name] += 1
        detail = {"name": name, "type": "String", "operation": "Update"}
        event = {"source": "aws.ssm", "detail-type": "Parameter Store Change", "detail": detail}
        body = json.dumps(event)
        now = time.time()
        self._messages.put({
            "MessageId": str(now),
            "ReceiptHandle": str(now),
            "MD5OfBody": hashlib.md5(body.encode()).hexdigest(),
            "Body": body,
            "Attributes": {"SentTimestamp": str(round(now * 1000)), "ApproximateReceiveCount": "1"},
        })
        return now

    def _response(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        if operation == "ReceiveMessage":
            try:
                return {"Messages": [self._messages.get(timeout=asked["WaitTimeSeconds"] or 0.001)]}
            except queue.Empty:
                return {}
        if operation == "DeleteMessageBatch":
            return {"Successful": [{"Id": entry["Id"]} for entry in asked["Entries"]], "Failed": []}
        names = asked.get("Names") or [asked["Name"]]
        with self._lock:
            self.reads += len(names)
            found = [_parameter(name, self._changes[name]) for name in names]
        return {"Parameters": found, "InvalidParameters": []} if "Names" in asked else {"Parameter": found[0]}


def _parameter(name: str, changes: int) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "String",
        "Value": f"{changes:05}".ljust(source.VALUE_BYTES, "x"),
        "Version": 1 + changes,
        "LastModifiedDate": 1767225600.0 + changes,
        "ARN": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{name}",
        "DataType": "text",
    }

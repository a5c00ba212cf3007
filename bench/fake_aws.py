"""A Parameter Store that has every parameter, and counts the names in the calls to it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import source


class FakeSsm:
    """Serves until it is closed. `reads` is the number of names that were read."""

    def __init__(self) -> None:
        self.reads = 0
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # The head and the body are two writes, and the second one would wait for the acknowledgement of the first.
            disable_nagle_algorithm = True

            def do_POST(handler) -> None:  # noqa: N805
                asked = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
                names = asked.get("Names") or [asked["Name"]]
                with lock:
                    self.reads += len(names)
                found = [_parameter(name) for name in names]
                body = {"Parameters": found, "InvalidParameters": []} if "Names" in asked else {"Parameter": found[0]}
                encoded = json.dumps(body).encode()
                handler.send_response(200)
                handler.send_header("content-type", "application/x-amz-json-1.1")
                handler.send_header("content-length", str(len(encoded)))
                handler.end_headers()
                handler.wfile.write(encoded)

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> FakeSsm:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _parameter(name: str) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "String",
        "Value": "x" * source.VALUE_BYTES,
        "Version": 1,
        "LastModifiedDate": 1767225600.0,
        "ARN": f"arn:aws:ssm:eu-west-2:123456789012:parameter{name}",
        "DataType": "text",
    }

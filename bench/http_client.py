"""Single requests, which check a response before the measurement."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Headers = dict[str, str]

# Members that may differ between two responses to the same request.
OF_THE_ANSWERER = {"version", "main_version", "aux_version", "request_id"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes
    # The size with status line and headers.
    wire_bytes: int

    def meaning(self) -> Any:
        """The body without members that may differ. Two services have to return the same content."""
        told = json.loads(self.body) if self.body else {}
        return {key: value for key, value in told.items() if key not in OF_THE_ANSWERER}


def ask(address: str, path: str, headers: Headers, body: str = "") -> Answer:
    """Sends a GET, or a POST if there is a body."""
    return next(ask_all(address, [path], headers, body))


def ask_all(address: str, paths: Iterable[str], headers: Headers, body: str = "") -> Iterator[Answer]:
    """Sends requests one after the other over one connection. Raises OSError or HTTPException if a response is missing."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        for path in paths:
            connection.request("POST" if body else "GET", path, body or None, headers)
            response = connection.getresponse()
            content = response.read()
            lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{key}: {value}" for key, value in response.getheaders())]
            wire_bytes = sum(len(line) + 2 for line in lines) + 2 + len(content)
            yield Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, content, wire_bytes)
    finally:
        connection.close()

"""Single requests, to see that an answer is right before it is measured."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Headers = dict[str, str]

# What two answers to one question may differ in: who answered, and which request it was.
OF_THE_ANSWERER = {"version", "main_version", "aux_version", "request_id"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes
    # With status line and headers.
    wire_bytes: int

    def meaning(self) -> Any:
        """What was asked for, without what may differ. Two services that answer the same question must agree on it."""
        told = json.loads(self.body) if self.body else {}
        return {key: value for key, value in told.items() if key not in OF_THE_ANSWERER}


def ask(address: str, path: str, headers: Headers) -> Answer:
    return next(ask_all(address, [path], headers))


def ask_all(address: str, paths: Iterable[str], headers: Headers) -> Iterator[Answer]:
    """One after the other, over one connection. Raises OSError or HTTPException if there is no answer."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        for path in paths:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read()
            lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{key}: {value}" for key, value in response.getheaders())]
            wire_bytes = sum(len(line) + 2 for line in lines) + 2 + len(body)
            yield Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, body, wire_bytes)
    finally:
        connection.close()

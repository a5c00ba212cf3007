"""The data of aux-service's embedded backend, and the number of requests to it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from http_client import ask

PARAMETERS = 10_000
VALUE_BYTES = 1000
LIST_BYTES = 100 * 1024


def path(index: int) -> str:
    return f"/param/bench/p{index:05}"


# The pattern of `path` for string.format in Lua.
PATTERN = "/param/bench/p%05d"


def value(index: int) -> str:
    """A value that is different for each parameter, so that a response for another name is found."""
    return f"{index:05}".ljust(VALUE_BYTES, "x")


def write(folder: Path, data: str) -> Path:
    """Writes the data: for `parameters` PARAMETERS of them, for `names` as many as a list of LIST_BYTES needs."""
    if data == "parameters":
        parameters = [{"name": f"/bench/p{index:05}", "value": value(index)} for index in range(PARAMETERS)]
    else:
        name = "/bench/names/p{:05}"
        count = LIST_BYTES // len(json.dumps(name.format(0)) + ",")
        parameters = [{"name": name.format(index), "value": "x"} for index in range(count)]
    file = folder / "source.yaml"
    # Every JSON document is also YAML.
    lines = ",\n".join(json.dumps(parameter) for parameter in parameters)
    file.write_text(f'{{"buckets": ["bench"], "parameters": [\n{lines}\n]}}\n')
    return file


def requests(address: str) -> int:
    """The number of API requests that aux-service has served so far."""
    metrics = ask(address, "/metrics", {}).body.decode()
    return sum(int(count) for count in re.findall(r"^axum_http_requests_total\{.*\} (\d+)$", metrics, re.MULTILINE))

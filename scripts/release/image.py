"""Reads or writes image.tag and image.digest of a chart's values (YAML or JSON); every other byte of the file stays unchanged.

image.py FILE              prints the tag
image.py FILE TAG DIGEST   writes both
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml


def scalar(file: Path, text: str, key: str) -> yaml.ScalarNode:
    """The node of image.<key>, with its position in the text."""
    node: yaml.Node | None = yaml.compose(text)
    for name in ("image", key):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for found, value in pairs if found.value == name), None)
    # Only a scalar on one line can be replaced without a change of other bytes.
    if not isinstance(node, yaml.ScalarNode) or node.style not in (None, '"', "'") or not text[node.start_mark.index : node.end_mark.index]:
        raise SystemExit(f"error: {file}: image.{key} is not a plain or quoted string; the chart of a released service needs one")
    return node


def write(file: Path, values: dict[str, str]) -> None:
    text = file.read_text(encoding="utf-8")
    for key, value in values.items():
        node = scalar(file, text, key)
        text = text[: node.start_mark.index] + json.dumps(value) + text[node.end_mark.index :]
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [name]:
            print(scalar(Path(name), Path(name).read_text(encoding="utf-8"), "tag").value)
        case [name, tag, digest]:
            write(Path(name), {"tag": tag, "digest": digest})
        case _:
            raise SystemExit(__doc__)

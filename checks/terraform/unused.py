"""Finds variables, locals, data sources and module outputs that nothing uses.

Terraform itself finds what is used and not declared.

Usage: unused.py FOLDER
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import hcl2


def unused(folder: Path) -> Iterator[str]:
    everything = "\n".join(file.read_text() for file in folder.rglob("*.tf"))
    for module in sorted({file.parent for file in folder.rglob("*.tf")}):
        text = "\n".join(file.read_text() for file in sorted(module.glob("*.tf")))
        for kind, name, use in declarations(module):
            # A root's outputs are for people and other tools; a module's are for the modules that call it.
            if kind == "output" and module.parent.name != "modules":
                continue
            if not re.search(rf"\b{use}\b", everything if kind == "output" else text):
                yield f"{module.relative_to(folder.parent)}: {kind} {name} is never used"


def declarations(module: Path) -> Iterator[tuple[str, str, str]]:
    """What the module declares: its kind, its name, and a pattern of the expression that would use it."""
    for file in sorted(module.glob("*.tf")):
        parsed = hcl2.loads(file.read_text())
        for kind, prefix in (("variable", r"var\."), ("output", r"module\.\w+\.")):
            for block in parsed.get(kind, []):
                for name in map(_unquoted, block):
                    yield kind, name, prefix + name
        for block in parsed.get("locals", []):
            for name in block:
                if not name.startswith("__"):
                    yield "local", name, rf"local\.{name}"
        for block in parsed.get("data", []):
            for kind, names in block.items():
                for name in map(_unquoted, names):
                    yield "data", f"{_unquoted(kind)}.{name}", rf"data\.{_unquoted(kind)}\.{name}"


def _unquoted(label: str) -> str:
    return label.strip('"')


if __name__ == "__main__":
    found = list(unused(Path(sys.argv[1])))
    print("\n".join(found) or "everything declared is used")
    sys.exit(1 if found else 0)

"""The pages whose tables are written by programs: a table stands between `<!-- name -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from pathlib import Path


def fill(page: Path, tables: dict[str, str]) -> None:
    """Replaces the tables of a page. Raises if the page has no place for one."""
    text = page.read_text()
    for name, table in tables.items():
        text, found = re.subn(place(name), lambda match: f"{match[1]}{table}\n\n{match[3]}", text, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"{page.name} has {found} places for the table '{name}', and needs one")
    page.write_text(text)


def read(page: Path, name: str) -> str:
    """The table that stands in a page; empty if the page has no place for it."""
    found = re.search(place(name), page.read_text(), flags=re.DOTALL)
    return (found[2] or "").strip() if found else ""


def place(name: str) -> str:
    return rf"(<!-- {name} -->\n\n)(.*?\n\n)??(<!-- end -->)"

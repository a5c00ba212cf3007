"""Links in the documents to files and headings of the repository."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rendering import ROOT


def documents() -> list[Path]:
    """All documents of the repository."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).exists()]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a text."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE):
        # A heading may itself be a link; its text counts.
        heading = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")
        number = sum(1 for other in found if re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", other))
        found.add(f"{anchor}-{number}" if number else anchor)
    return found


def broken(documents: list[Path]) -> Iterator[str]:
    """Each link to a missing file or heading."""
    for document in documents:
        text = document.read_text()
        for target in re.findall(r"\]\((?!https?://|mailto:)([^)\s]+)\)", re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)):
            name, _, anchor = target.partition("#")
            path = (document.parent / name).resolve() if name else document
            if not path.exists():
                yield f"{document.relative_to(ROOT)} links to {target}, which does not exist"
            elif anchor and anchor not in anchors(path.read_text()):
                yield f"{document.relative_to(ROOT)} links to {target}, and there is no such heading"

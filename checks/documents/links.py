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


def prose(document: Path) -> str:
    """The text of a document without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE):
        # A heading may itself be a link; its text counts.
        heading = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")
        number = sum(1 for other in found if re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", other))
        found.add(f"{anchor}-{number}" if number else anchor)
    return found


def broken(documents: list[Path]) -> Iterator[str]:
    """Each link to a missing file or heading."""
    for document in documents:
        for target in re.findall(r"\]\((?!https?://|mailto:)([^)\s]+)\)", prose(document)):
            name, _, anchor = target.partition("#")
            path = (document.parent / name).resolve() if name else document
            if not path.exists():
                yield f"{document.relative_to(ROOT)} links to {target}, which does not exist"
            elif anchor and anchor not in anchors(path):
                yield f"{document.relative_to(ROOT)} links to {target}, and there is no such heading"

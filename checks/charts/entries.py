"""A values file as text: its keys with their comments."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

KEY = re.compile(r"( *)([\w./-]+|\{own\}):")


@dataclass
class Entry:
    """One key of a values file as text."""

    key: str
    line: str
    # The comment above the key, with the blank lines before it.
    comment: list[str] = field(default_factory=list)
    children: list[Entry] = field(default_factory=list)

    def text(self) -> str:
        return "".join(f"{line}\n" for line in [*self.comment, self.line]) + "".join(child.text() for child in self.children)

    def own_comment(self) -> list[str]:
        """The lines directly above the key."""
        return [*itertools.takewhile(str.strip, reversed(self.comment))][::-1]

    def above(self) -> list[str]:
        """The lines above the key's own comment, up to the last blank line: headings and the file's introduction."""
        return self.comment[: len(self.comment) - len(self.own_comment())]


def entries(text: str) -> list[Entry]:
    """The keys of the first level, each with those below it."""
    top: list[Entry] = []
    levels = [(-1, top)]
    comment: list[str] = []
    for line in text.splitlines():
        if not (found := KEY.match(line)):
            comment.append(line)
            continue
        indent = len(found[1])
        while levels[-1][0] >= indent:
            levels.pop()
        entry = Entry(found[2], line, comment)
        levels[-1][1].append(entry)
        levels.append((indent, entry.children))
        comment = []
    return top

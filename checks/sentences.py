#!/usr/bin/env python3
"""Counts the sentences in comments of Rust that open with a relative or interrogative clause, and fails above 2 in 100.

docs/style.md has the rule: the subject comes first. usage: checks/sentences.py [FILE or FOLDER …]
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST = 0.02

OPENING = re.compile(
    r"[*`\[\s-]*(Who|Whoever|What|Whatever|Which|That|How|However|None|Of|As|Where|Whose|Nobody|Somebody|Anybody|One that|Those)\b"
)
COMMENT = re.compile(r"\s*//[/!]? ?(.*)")
# A sentence ends before a capital letter, a quotation or code.
END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"])")


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a file's comments, without tables, headings and examples."""
    paragraph: list[str] = []
    code = False
    for line in [*text.splitlines(), ""]:
        comment = COMMENT.match(line)
        words = comment[1].strip() if comment else ""
        if words.startswith("```"):
            code = not code
        elif words and not code and not words.startswith(("|", "#")):
            paragraph.append(words)
            continue
        if paragraph:
            yield " ".join(paragraph)
            paragraph = []


def sentences(text: str) -> Iterator[str]:
    for paragraph in paragraphs(text):
        # Shorter ones are labels.
        yield from (sentence for sentence in END.split(paragraph) if len(sentence.split()) >= 4)


def files(arguments: list[str]) -> list[Path]:
    if arguments:
        return [file for path in map(Path, arguments) for file in (sorted(path.rglob("*.rs")) if path.is_dir() else [path])]
    listed = subprocess.run(["git", "ls-files", "*.rs"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / file for file in listed.stdout.split()]


def main() -> None:
    found = [(file, sentence) for file in files(sys.argv[1:]) for sentence in sentences(file.read_text())]
    if not found:
        sys.exit("error: no comment was found; the check looked at nothing")
    clauses = [(file, sentence) for file, sentence in found if OPENING.match(sentence)]
    if len(clauses) > MOST * len(found):
        for file, sentence in clauses:
            print(f"{file}: {sentence}", file=sys.stderr)
        sys.exit(f"error: {len(clauses)} of {len(found)} comment sentences open with a clause; docs/style.md says how to write them")


main()
